#pragma once

#include <minions/error.hpp>
#include <minions/http_client/client.hpp>
#include <minions/value.hpp>

#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace minions::cli {

/// What a command exits with. `exec` passes on the code of the command that it ran.
enum Exit { exit_ok = 0, exit_failed = 1, exit_usage = 2, exit_cannot_connect = 3 };

/// The three standard streams; replaced in tests.
struct Console {
    std::istream& in;
    std::ostream& out;
    std::ostream& err;
    // Their descriptors, for what cannot wait for one of them alone; -1: there is none.
    int in_fd = -1;
    int out_fd = -1;
    int err_fd = -1;
};

/// The daemon cannot be reached, or the connection to it broke.
class CannotConnect : public Error {
  public:
    using Error::Error;
};

/// A mistake on the command line, found after parsing.
class UsageError : public Error {
  public:
    explicit UsageError(std::string message, std::string hint = {})
        : Error(Code::invalid, std::move(message), std::move(hint)) {}
};

/// What all commands share: the global options, the streams, and the daemon that is asked.
class Session {
  public:
    explicit Session(Console streams) : console(streams) {}

    Console console;

    // Global options.
    std::string host;
    std::string token;
    std::string token_file;
    bool json = false;

    /// What stood after "--", and whether there was one.
    std::vector<std::string> command;
    bool has_command = false;
    bool takes_command = false;  ///< set by commands that have a use for it

    /// What the chosen command does; returns its exit code.
    std::function<int()> run;

    /// Sends a request with the token; a JSON body where there is one. Throws the daemon's error as Error.
    Value call(std::string_view method, std::string_view target, const std::optional<Value>& body = {});
    /// As call(), with the reply as it came.
    http::Response send(http::Request request);
    /// The body goes to `sink` as it comes; false from it ends the call.
    void stream(http::Request request, const std::function<bool(std::string_view)>& sink);

    /// Opens a WebSocket of that subprotocol.
    http::Hijacked web_socket(std::string_view target, const std::string& protocol);

    /// Prints a document for programs.
    void print_json(const Value& value) const;

  private:
    void authorize(http::Request& request);
    http::Stream open(http::Request request);
    http::Client& client();
    std::unique_ptr<http::Client> client_;
};

/// A path segment or query value, percent-encoded.
std::string encode_segment(std::string_view text);

/// The daemon's error of a reply that is not a success.
Error error_of(const http::Response& reply);

}  // namespace minions::cli
