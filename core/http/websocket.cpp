#include "core/http/websocket.hpp"

#include <Poco/Net/HTTPRequest.h>
#include <Poco/Net/StreamSocket.h>
#include <Poco/Net/StreamSocketImpl.h>
#include <fmt/format.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace minions::core::http {
namespace {

Reply refusal(const Request& request, int status, std::string message, std::string hint) {
    Reply reply = error_reply(request.path(), Error(Code::invalid, std::move(message), std::move(hint)));
    reply.status = status;
    if (status == 426) {
        reply.headers.emplace_back("Upgrade", "websocket");
        reply.headers.emplace_back("Connection", "Upgrade");
        reply.headers.emplace_back("Sec-WebSocket-Version", "13");
    }
    return reply;
}

/// A peer whose machine is gone says nothing for ever. What is slow to read still answers for its socket.
void watch_peer(int fd) {
    const int on = 1;
    const int idle_seconds = 60;
    const int probe_seconds = 15;
    ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof idle_seconds);
    ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &probe_seconds, sizeof probe_seconds);
}

}  // namespace

std::optional<Reply> refuse_websocket(const Request& request, std::string_view protocol) {
    const bool asks =
        request.method() == "GET" && request.head().getVersion() == Poco::Net::HTTPMessage::HTTP_1_1 &&
        request.header_lists("Connection", "upgrade") && request.header_lists("Upgrade", "websocket");
    if (!asks) {
        return refusal(request, 426, "this is a WebSocket",
                       fmt::format("open it with the subprotocol {}", protocol));
    }
    if (request.header("Sec-WebSocket-Version") != "13")
        return refusal(request, 426, "this version of WebSocket is not spoken here", "use version 13");
    if (!minions::websocket::is_key(request.header("Sec-WebSocket-Key").value_or("")))
        return refusal(request, 400, "header 'Sec-WebSocket-Key' is no 16 bytes in base64", "");
    if (!request.header_lists("Sec-WebSocket-Protocol", protocol)) {
        return refusal(request, 400, "the WebSocket's subprotocol is missing or unknown",
                       fmt::format("send the header Sec-WebSocket-Protocol: {}", protocol));
    }
    return std::nullopt;
}

Reply websocket(const Request& request, std::string_view protocol, std::size_t max_message,
                std::function<void(minions::websocket::Socket&)> run) {
    const std::string key(request.header("Sec-WebSocket-Key").value_or(""));
    return upgrade(
        "websocket",
        {{"Sec-WebSocket-Accept", minions::websocket::accept_of(key)},
         {"Sec-WebSocket-Protocol", std::string(protocol)}},
        [max_message, run = std::move(run)](Poco::Net::StreamSocket& socket, const std::string& leftover) {
            const int fd = socket.impl()->sockfd();
            watch_peer(fd);
            minions::websocket::Socket messages(fd, minions::websocket::Role::server, max_message, leftover);
            run(messages);
        });
}

}  // namespace minions::core::http
