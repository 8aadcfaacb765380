#pragma once

#include "core/http/reply.hpp"
#include "core/http/request.hpp"

#include <minions/http_client/websocket.hpp>

#include <functional>
#include <optional>
#include <string_view>

namespace minions::core::http {

/// A reply for what does not ask for a WebSocket of `protocol`: 426 (with Upgrade) without the headers of an
/// upgrade, 400 where they are wrong. Nullopt for what does.
std::optional<Reply> refuse_websocket(const Request& request, std::string_view protocol);

/// 101 for a request that refuse_websocket() let pass. `run` gets the connection, in the lane of a route that
/// is `command` or `stream`; the connection is closed when it returns.
Reply websocket(const Request& request, std::string_view protocol, std::size_t max_message,
                std::function<void(minions::websocket::Socket&)> run);

}  // namespace minions::core::http
