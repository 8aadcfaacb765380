#pragma once

#include "core/access/peer.hpp"
#include "core/access/principal.hpp"

#include <minions/value.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace Poco::Net {
class HTTPRequest;
}

namespace minions::core::http {

/// Whether the caller of a request is still there. [any thread]
///
/// A caller counts as gone when it has closed its end or sent FIN: who half-closes after the request gives up
/// the reply. The server tells it of a drain too: `stopping` when it begins (endless streams should end
/// then), `gone` at its deadline.
class Client {
  public:
    /// A client that is never gone, for handlers under test.
    Client() = default;
    explicit Client(int fd) : fd_(fd) {}
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    bool gone() const;
    bool stopping() const noexcept { return stopping_; }
    /// gone() or stopping(): what an endless stream asks.
    bool should_end() const { return stopping_ || gone(); }

    /// Holds a callback registered; once destroyed, the callback does not run and will not.
    class Watch {
      public:
        Watch() = default;
        Watch(Watch&& other) noexcept { *this = std::move(other); }
        Watch& operator=(Watch&& other) noexcept;
        ~Watch() { reset(); }
        void reset();

      private:
        friend class Client;
        std::shared_ptr<Client> client_;
        std::uint64_t id_ = 0;
    };
    /// Calls `changed` (from a server thread, holding a lock of this object: set a flag, notify, cancel; do
    /// not wait, do not touch watches) each time gone or stopping becomes true; at once if one is already.
    /// Disconnects are noticed while a handler of the lanes `waiting` and `stream` runs.
    [[nodiscard]] static Watch watch(const std::shared_ptr<Client>& client, std::function<void()> changed);

    // For the server.
    void mark_gone();
    void mark_stopping();
    /// The request is over and its descriptor may become another's.
    void detach();

  private:
    void notify();

    mutable std::mutex fd_mutex_;
    int fd_ = -1;
    std::atomic<bool> gone_{false};
    std::atomic<bool> stopping_{false};
    std::mutex mutex_;
    std::map<std::uint64_t, std::function<void()>> watches_;
    std::uint64_t next_id_ = 0;
};

/// The body of a `raw` route as it arrives. One thread at a time.
class BodyReader {
  public:
    virtual ~BodyReader() = default;
    /// Waits for up to `size` bytes and returns how many came; 0 at the end of the body. Throws Error:
    /// cancelled when the client is gone, deadline when it sends nothing for the body timeout, too_large
    /// beyond the route's limit, invalid for broken chunks.
    virtual std::size_t read(char* into, std::size_t size) = 0;
};

/// One request, complete but for the body of raw routes. Used by one thread at a time; handlers may move
/// parts out.
class Request {
  public:
    Request();
    Request(std::string method, std::string target);
    Request(Request&&) noexcept;
    Request& operator=(Request&&) noexcept;
    ~Request();

    const std::string& method() const;
    /// As it was sent, query included.
    const std::string& target() const;
    /// Decoded, without the query; as it was sent where it cannot be decoded.
    const std::string& path() const noexcept { return path_; }
    /// The path's segments, decoded each by itself: an encoded slash does not split.
    const std::vector<std::string>& segments() const noexcept { return segments_; }

    /// The value of a header, whatever its case; of repeated ones the first. Valid until the request ends.
    std::optional<std::string_view> header(std::string_view name) const;
    /// See lists_token().
    bool header_lists(std::string_view name, std::string_view token) const;
    void set_header(const std::string& name, const std::string& value);
    /// Everything else about the head; for those who include Poco.
    const Poco::Net::HTTPRequest& head() const { return *head_; }

    /// A decoded query parameter, or null.
    const std::string* query(std::string_view name) const noexcept;
    const std::vector<std::pair<std::string, std::string>>& queries() const noexcept { return queries_; }

    /// The path parameter of the matched route, decoded. Throws std::logic_error where the pattern has none
    /// of that name.
    const std::string& param(std::string_view name) const;

    /// The body as JSON. Throws Error{invalid} where it is empty or no JSON.
    Value json() const;

    std::string body;
    std::unique_ptr<BodyReader> reader;  ///< raw routes only
    std::shared_ptr<Peer> peer;
    Principal principal;
    std::string id;          ///< also in the reply's X-Request-Id and in the log
    std::string_view route;  ///< the matched pattern
    std::shared_ptr<Client> client;
    std::vector<std::pair<std::string_view, std::string>> params;

    /// Takes method, target and headers and decodes path and query. Throws Error{invalid}.
    void set_head(std::unique_ptr<Poco::Net::HTTPRequest> head);

  private:
    void decode_target();

    std::unique_ptr<Poco::Net::HTTPRequest> head_;
    std::string path_;
    std::vector<std::string> segments_;
    std::vector<std::pair<std::string, std::string>> queries_;
};

}  // namespace minions::core::http
