#pragma once

#include "core/http/server.hpp"

#include <minions/base/fd.hpp>
#include <minions/base/sync.hpp>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace minions::core::http {

using namespace std::chrono_literals;

/// Something that one thread sets and another waits for.
class Gate {
  public:
    void open();
    /// False if it is still shut after ten seconds.
    bool wait() { return wait_for(10s); }
    bool wait_for(std::chrono::milliseconds patience);

  private:
    std::mutex mutex_;
    std::condition_variable condition_;
    bool open_ = false;
};

/// A client that sees every byte. Reads give up after ten seconds.
class RawClient {
  public:
    /// "127.0.0.1:1234" or a path.
    explicit RawClient(const std::string& address);

    void send(std::string_view bytes);
    /// The next complete reply; its body by Content-Length or chunks, decoded. `head_only` for HEAD.
    struct Answer {
        int status = 0;
        std::string head;
        std::string body;
        bool complete = false;  ///< false where the connection ended too early
        std::string header(std::string_view name) const;
    };
    Answer read(bool head_only = false);
    Answer ask(std::string_view bytes, bool head_only = false);
    /// The next `size` bytes, or what came of them before the end.
    std::string take(std::size_t size);
    /// Whether the server has closed its end, and nothing came before.
    bool at_end();
    void half_close();
    void close() { fd_.reset(); }
    int fd() const { return fd_.get(); }

  private:
    bool fill();
    Fd fd_;
    std::string in_;
};

/// Admin for everybody.
Options open_options();

/// A server on a free port of 127.0.0.1.
struct TestServer {
    explicit TestServer(std::vector<Route> routes, Options options = open_options());
    RawClient client() const { return RawClient(server->bound().front()); }
    std::unique_ptr<Server> server;
};

Route quick(std::string_view method, std::string_view pattern, Handler handler);
Route waiting(std::string_view pattern, Handler handler);
Route command(std::string_view pattern, Handler handler);
Route streaming(std::string_view pattern, Handler handler);

}  // namespace minions::core::http
