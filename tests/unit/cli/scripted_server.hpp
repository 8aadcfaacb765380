#pragma once

#include <minions/base/fd.hpp>
#include <minions/base/sync.hpp>

#include <string>
#include <thread>
#include <vector>

namespace minions::test {

/// An HTTP server that gives prepared replies in their order, one connection each, and keeps what it was
/// asked.
class ScriptedServer {
  public:
    struct Reply {
        int status = 200;
        std::string body;
        std::string headers = {};  ///< further header lines, each with "\r\n"
    };

    /// On a Unix socket at `path`, or on a loopback port of its own.
    explicit ScriptedServer(std::vector<Reply> replies, std::string path = {});
    ~ScriptedServer();

    /// For --host.
    const std::string& address() const { return address_; }
    /// The requests so far: head and body as they came.
    std::vector<std::string> requests() const { return *requests_.lock(); }

  private:
    void serve(std::vector<Reply> replies);

    Fd listener_;
    std::string address_;
    std::string path_;
    Sync<std::vector<std::string>> requests_;
    std::thread thread_;
};

/// What a run of the program gave.
struct Run {
    int code;
    std::string out;
    std::string err;
};

/// Runs the program in this process. `host` empty: no --host.
Run run(const std::string& host, std::vector<std::string> arguments, const std::string& input = {});

}  // namespace minions::test
