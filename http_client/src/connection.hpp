#pragma once

#include <minions/base/fd.hpp>
#include <minions/http_client/client.hpp>

#include <cstdint>
#include <string>

namespace minions::http {

/// The server closed the connection (or reset it) before it sent a byte of the reply.
struct ClosedBeforeReply {};

/// One connection and the state of the reply on it. Bodies are decoded here, not by Poco's streams: those of
/// Poco before 1.11.6 read past the last chunk and hang.
class Connection {
  public:
    Connection(Fd fd, std::string where, bool reused);

    /// Sends a request and reads the head of its reply. Throws Error, and ClosedBeforeReply where nothing
    /// came back.
    Response exchange(const Request& request, const std::string& host, const Call& call);
    /// The next piece of the body, 0 at its end.
    std::size_t read_body(char* data, std::size_t size);

    bool reused() const { return reused_; }
    /// Whether the body is at its end and the next request may follow.
    bool reusable() const { return mode_ == Mode::none && keep_; }
    bool at_end() const { return mode_ == Mode::none && !upgraded_; }
    bool can_hijack() const { return upgraded_ || mode_ == Mode::until_close; }
    Hijacked hijack();
    /// Whether an idle connection is still there: nothing to read, not even its end.
    bool idle() const;
    void mark_reused() { reused_ = true; }
    void set_deadline(Deadline deadline) { call_.deadline = deadline; }

  private:
    enum class Mode { none, length, chunked, until_close };

    bool send(std::string_view data, bool first);
    void send_source(const BodySource& source);
    /// Reads more into the buffer. Returns false at the end of the connection.
    bool fill();
    std::size_t receive(char* data, std::size_t size);
    std::string read_head();
    Response read_response(const std::string& method);
    void choose_mode(const Response& head, const std::string& method);
    std::string read_line(std::size_t max);
    void next_chunk();
    std::string_view buffered() const { return std::string_view(buffer_).substr(at_); }
    [[noreturn]] void closed_early() const;
    [[noreturn]] void senseless(const std::string& what) const;

    Fd fd_;
    std::string where_;
    bool reused_;
    Call call_;
    std::string buffer_;
    std::size_t at_ = 0;
    Mode mode_ = Mode::none;
    std::uint64_t left_ = 0;  ///< of the body, or of the present chunk
    bool first_chunk_ = true;
    bool keep_ = false;
    bool upgraded_ = false;
    bool head_waits_ = false;  ///< the reply began before the body was sent
};

}  // namespace minions::http
