#include <minions/error.hpp>
#include <minions/http_client/websocket.hpp>

#include <Poco/Base64Encoder.h>
#include <Poco/SHA1Engine.h>
#include <Poco/String.h>

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <sstream>

namespace minions::websocket {
namespace {

std::string base64(const void* data, std::size_t size) {
    std::ostringstream text;
    Poco::Base64Encoder encoder(text);
    encoder.write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
    encoder.close();
    return text.str();
}

}  // namespace

std::string new_key() {
    std::array<unsigned char, 16> bytes{};
    if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
        throw error_from_errno(errno, "cannot draw random bytes");
    return base64(bytes.data(), bytes.size());
}

std::string accept_of(std::string_view key) {
    Poco::SHA1Engine sha1;
    sha1.update(std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    const auto& digest = sha1.digest();
    return base64(digest.data(), digest.size());
}

bool is_key(std::string_view text) {
    return text.size() == 24 && text.substr(22) == "==" &&
           std::all_of(text.begin(), text.begin() + 22, [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '+' || c == '/';
           });
}

http::Headers request_headers(const std::string& key, const std::string& protocol) {
    return {{"Connection", "Upgrade"},
            {"Upgrade", "websocket"},
            {"Sec-WebSocket-Version", "13"},
            {"Sec-WebSocket-Key", key},
            {"Sec-WebSocket-Protocol", protocol}};
}

void check_reply(const http::Response& reply, const std::string& key, const std::string& protocol) {
    const bool agreed = reply.status == 101 &&
                        Poco::icompare(std::string(reply.header("Upgrade")), "websocket") == 0 &&
                        reply.header("Sec-WebSocket-Accept") == accept_of(key) &&
                        reply.header("Sec-WebSocket-Protocol") == protocol;
    if (!agreed) {
        throw Error(Code::internal, "the server did not agree to the WebSocket protocol " + protocol,
                    "is it this version's daemon, and does a proxy between pass WebSockets on?");
    }
}

}  // namespace minions::websocket
