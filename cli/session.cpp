#include "cli/session.hpp"

#include "cli/address.hpp"

#include <minions/http_client/websocket.hpp>

#include <fmt/format.h>

#include <fstream>
#include <ostream>

namespace minions::cli {
namespace {

/// Two streams of output of an exec, as JSON with every byte escaped.
constexpr std::size_t max_reply = std::size_t{512} << 20;

/// Runs one step of the transport; what it cannot reach is not an answer of the daemon.
template <class Step>
auto reaching(Step step) {
    try {
        return step();
    } catch (const Error& error) {
        if (error.code() != Code::unavailable) throw;
        throw CannotConnect(error.code(), error.message(),
                            "is the daemon running? start it with 'minions serve', or name it with --host");
    }
}

std::string read_token(const std::string& path) {
    std::ifstream file(path);
    std::string token;
    if (!file || !(file >> token)) {
        throw Error(Code::invalid, fmt::format("cannot read a token from '{}'", path),
                    "the file named by --token-file must hold the token and nothing else");
    }
    return token;
}

Code code_of_status(int status) {
    switch (status) {
        case 401:
            return Code::unauthenticated;
        case 403:
            return Code::forbidden;
        case 404:
            return Code::not_found;
        case 409:
            return Code::conflict;
        default:
            return status < 500 ? Code::invalid : Code::failed;
    }
}

}  // namespace

std::string encode_segment(std::string_view text) {
    std::string encoded;
    for (const char c : text) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                           c == '-' || c == '_' || c == '.' || c == '~';
        encoded += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
    return encoded;
}

Error error_of(const http::Response& reply) {
    Value body;
    try {
        body = parse_json(reply.body);
    } catch (const Error&) {  // NOLINT(bugprone-empty-catch): a proxy's page; the status has to do
    }
    // /api/vms says "error" and "code"; /api/v1/vm says "detail", and "message" where that is one word.
    std::string message = body["error"].string_or("");
    if (message.empty()) message = body["message"].string_or(body["detail"].string_or(""));
    if (message.empty()) message = fmt::format("the daemon answered with status {}", reply.status);
    const auto* word = body["code"].if_string();
    Error error(word != nullptr ? code_from_word(*word) : code_of_status(reply.status), message,
                body["hint"].string_or(""));
    if (const auto* object = body.if_object()) {
        for (const auto& [name, value] : *object) error.with(name, value);
    }
    return error;
}

http::Client& Session::client() {
    if (!client_) {
        // One spare connection: polling an operation does not connect again each time.
        client_ = std::make_unique<http::Client>(host.empty() ? local_address() : parse_address(host), 1);
    }
    return *client_;
}

void Session::authorize(http::Request& request) {
    if (token.empty() && !token_file.empty()) token = read_token(token_file);
    if (!token.empty()) request.headers.emplace_back("Authorization", "Bearer " + token);
}

http::Response Session::send(http::Request request) {
    authorize(request);
    const auto reply = reaching([&] { return client().request(request, {}, max_reply); });
    if (reply.status >= 400) throw error_of(reply);
    return reply;
}

Value Session::call(std::string_view method, std::string_view target, const std::optional<Value>& body) {
    http::Request request{std::string(method), std::string(target)};
    if (body) {
        request.body = to_json(*body);
        request.headers.emplace_back("Content-Type", "application/json");
    }
    const auto reply = send(std::move(request));
    return reply.body.empty() ? Value() : parse_json(reply.body, {64, max_reply});
}

http::Stream Session::open(http::Request request) {
    authorize(request);
    auto reply = reaching([&] { return client().open(request, {}); });
    if (reply.head().status < 400) return reply;
    auto failed = reply.head();
    failed.body = reaching([&] { return reply.read_all(max_reply); });
    throw error_of(failed);
}

http::Hijacked Session::web_socket(std::string_view target, const std::string& protocol) {
    const std::string key = websocket::new_key();
    auto reply = open({"GET", std::string(target), websocket::request_headers(key, protocol)});
    websocket::check_reply(reply.head(), key, protocol);
    return reply.hijack();
}

void Session::stream(http::Request request, const std::function<bool(std::string_view)>& sink) {
    auto reply = open(std::move(request));
    char piece[16384];
    while (const auto size = reaching([&] { return reply.read(piece, sizeof piece); })) {
        if (!sink({piece, size})) return;
    }
}

void Session::print_json(const Value& value) const { console.out << to_pretty_json(value) << '\n'; }

}  // namespace minions::cli
