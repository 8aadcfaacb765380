#include "plugins/docker/engine.hpp"

#include "plugins/docker/documents.hpp"

#include <minions/base/deadline.hpp>

#include <fmt/format.h>

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace minions::docker {
namespace {

/// The newest version whose changes were looked through for what is used here. Up to 1.52 (Engine 29) they
/// are members left out that are read as absent: an inspect's address outside of its networks, an event's
/// `status` and `id`, the "<none>" names of images.
constexpr int newest_api = 1052;
constexpr int oldest_api = 1040;
constexpr std::size_t buffer_size = std::size_t{64} << 10U;
constexpr std::size_t largest_reply = std::size_t{256} << 20U;

std::string text_of_api(int number) { return fmt::format("{}.{}", number / 1000, number % 1000); }

/// The cure for a socket that nobody answers at.
std::string cure(const std::string& socket) {
    if (::access(socket.c_str(), R_OK | W_OK) == 0) return "start or restart Docker, and look at its log";
    if (errno == EACCES || errno == EPERM) {
        return fmt::format("let the daemon's user read and write {}", socket);
    }
    return "start Docker, or set runtimes.docker.socket to where its socket is";
}

http::Request request_for(std::string_view method, std::string target, const Value& body) {
    http::Request request;
    request.method = method;
    request.target = std::move(target);
    if (!body.is_null()) {
        request.headers.emplace_back("Content-Type", "application/json");
        request.body = to_json(body);
    }
    return request;
}

/// Yields what a descriptor yields, as patient as the request.
http::BodySource body_from(int source, const Patience& patience) {
    return [source, patience](char* data, std::size_t size) -> std::size_t {
        for (;;) {
            pollfd wait[] = {{source, POLLIN, 0}, {patience.cancel_fd, POLLIN, 0}};
            const int ready = poll_until(wait, 2, patience.deadline);
            if (wait[1].revents != 0) throw Error(Code::cancelled, "the call was cancelled");
            if (ready == 0) throw Error(Code::deadline, "the data to send did not come in time", {}, true);
            const ssize_t got = ::read(source, data, size);
            if (got >= 0) return static_cast<std::size_t>(got);
            if (errno != EINTR && errno != EAGAIN)
                throw error_from_errno(errno, "cannot read the data to send");
        }
    };
}

}  // namespace

EngineVersion negotiate(const Value& document) {
    EngineVersion version;
    version.version = document["Version"].string_or("unknown");
    if (const auto* components = document["Components"].if_array()) {
        for (const auto& component : *components) {
            version.podman = version.podman || component["Name"].string_or("").starts_with("Podman");
        }
    }
    const auto theirs = api_version_number(document["ApiVersion"].string_or(""));
    if (!theirs) {
        throw Error(Code::unavailable, "what answers at the engine's socket does not say which API it speaks",
                    "set runtimes.docker.socket to the socket of a Docker Engine");
    }
    const int least = api_version_number(document["MinAPIVersion"].string_or("")).value_or(0);
    const int spoken = std::min(*theirs, newest_api);
    if (spoken < oldest_api) {
        throw Error(Code::unavailable,
                    fmt::format("the engine {} speaks its API up to {}, and at least {} is needed",
                                version.version, text_of_api(*theirs), text_of_api(oldest_api)),
                    "update Docker to 19.03 or later");
    }
    if (least > spoken) {
        throw Error(Code::unavailable,
                    fmt::format("the engine {} speaks its API from {} on, and at most {} is known here",
                                version.version, text_of_api(least), text_of_api(newest_api)),
                    "update minions");
    }
    version.api = text_of_api(spoken);
    return version;
}

Value Reply::document() const {
    try {
        return parse_json(body, {32, largest_reply});
    } catch (const Error&) {
        return {};
    }
}

std::string Reply::message() const {
    std::string text = document()["message"].string_or(document()["cause"].string_or(body));
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
    return text.empty() ? fmt::format("status {}", status) : text;
}

Error failure(const Reply& reply, std::string_view what) {
    const std::string reason = reply.message();
    const std::string text = fmt::format("{}: {}", what, reason);
    if (reason.find("no space left on device") != std::string::npos) {
        return {Code::no_space, text, "free space where the engine keeps its data", true};
    }
    switch (reply.status) {
        case 400:
            return {Code::invalid, text};
        case 404:
            return {Code::not_found, text};
        case 409:
            return {Code::conflict, text};
        case 503:
            return {Code::unavailable, text, "try again", true};
        default:
            return {Code::failed, text};
    }
}

Value object_in(const Reply& reply, std::string_view what) {
    Value document = reply.document();
    if (document.if_object() != nullptr) return document;
    throw Error(Code::internal, fmt::format("{}: the engine's answer cannot be read", what));
}

Incoming::Incoming(http::Stream stream)
    : stream_(std::move(stream)), buffer_(std::make_unique<char[]>(buffer_size)) {}

std::string_view Incoming::read() { return {buffer_.get(), stream_.read(buffer_.get(), buffer_size)}; }

std::string Incoming::rest() { return stream_.read_all(largest_reply); }

Engine::Engine(const Config& config)
    : socket_(config.socket),
      client_(http::Endpoint::unix_socket(config.socket)),
      api_timeout_(std::chrono::seconds(config.api_timeout_seconds)) {}

Error Engine::explained(const Error& error, bool own_limit) {
    if (error.code() == Code::unavailable) {
        version_.lock()->reset();  // another engine may come back
        return {Code::unavailable, fmt::format("the engine is away: {}", error.message()), cure(socket_),
                true};
    }
    if (error.code() == Code::deadline && own_limit) {
        return {Code::unavailable, fmt::format("the engine at {} does not answer", socket_),
                "look at the engine's log, or restart it", true};
    }
    return error;
}

Reply Engine::timed(const Patience& patience, std::string_view method, const std::string& target,
                    const Value& body, milliseconds extra) {
    const Patience limited = patience.at_most(api_timeout_ + extra);
    try {
        http::Response response = client_.request(request_for(method, target, body),
                                                  {limited.deadline, limited.cancel_fd}, largest_reply);
        return {response.status, std::move(response.body)};
    } catch (const Error& error) {
        throw explained(error, limited.deadline < patience.deadline);
    }
}

EngineVersion Engine::version(const Patience& patience) {
    const Reply reply = timed(patience, "GET", "/version", {}, milliseconds(0));
    if (!reply.ok()) throw failure(reply, fmt::format("the engine at {} is not ready", socket_));
    const EngineVersion version = negotiate(reply.document());
    *version_.lock() = version;
    return version;
}

EngineVersion Engine::spoken(const Patience& patience) {
    if (auto known = *version_.lock()) return *known;
    return version(patience);
}

std::string Engine::versioned(const Patience& patience, std::string_view path) {
    return fmt::format("/v{}{}", spoken(patience).api, path);
}

Reply Engine::call(const Patience& patience, std::string_view method, std::string_view path,
                   const Value& body, milliseconds extra) {
    return timed(patience, method, versioned(patience, path), body, extra);
}

Value Engine::expect(const Patience& patience, std::string_view what, std::string_view method,
                     std::string_view path, const Value& body) {
    const Reply reply = call(patience, method, path, body);
    if (!reply.ok()) throw failure(reply, what);
    return reply.document();
}

Value::Array Engine::list(const Patience& patience, std::string_view what, std::string_view path) {
    Value document = expect(patience, what, "GET", path);
    if (auto* elements = document.if_array()) return std::move(*elements);
    throw Error(Code::internal, fmt::format("{}: the engine's answer cannot be read", what));
}

Incoming Engine::open(const Patience& patience, std::string_view method, std::string_view path, Head head) {
    // What changes something may ask a registry before it answers.
    const bool soon = method == "GET" && head == Head::promptly;
    const Patience limited = soon ? patience.at_most(api_timeout_) : patience;
    try {
        http::Stream stream = client_.open(request_for(method, versioned(patience, path), {}),
                                           {limited.deadline, limited.cancel_fd});
        stream.set_deadline(patience.deadline);
        return Incoming(std::move(stream));
    } catch (const Error& error) {
        throw explained(error, limited.deadline < patience.deadline);
    }
}

Incoming Engine::upload(const Patience& patience, std::string_view method, std::string_view path,
                        int source) {
    return upload(patience, method, path, body_from(source, patience));
}

Incoming Engine::upload(const Patience& patience, std::string_view method, std::string_view path,
                        http::BodySource source) {
    http::Request request = request_for(method, versioned(patience, path), {});
    request.headers.emplace_back("Content-Type", "application/x-tar");
    request.source = std::move(source);
    try {
        return Incoming(client_.open(request, {patience.deadline, patience.cancel_fd}));
    } catch (const Error& error) {
        throw explained(error, false);
    }
}

std::variant<http::Hijacked, Reply> Engine::hijack(const Patience& patience, std::string_view path,
                                                   const Value& body) {
    http::Request request = request_for("POST", versioned(patience, path), body);
    request.headers.emplace_back("Connection", "Upgrade");
    request.headers.emplace_back("Upgrade", "tcp");
    const Patience limited = patience.at_most(api_timeout_);
    try {
        http::Stream stream = client_.open(request, {limited.deadline, limited.cancel_fd});
        const int status = stream.head().status;
        if (status == 101 || status == 200) return stream.hijack();
        return Reply{status, stream.read_all(largest_reply)};
    } catch (const Error& error) {
        throw explained(error, limited.deadline < patience.deadline);
    }
}

std::string encoded(std::string_view text) {
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        const bool plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                           (byte >= '0' && byte <= '9') || c == '-' || c == '_' || c == '.' || c == '~';
        if (plain) {
            out += c;
        } else {
            out += fmt::format("%{:02X}", byte);
        }
    }
    return out;
}

}  // namespace minions::docker
