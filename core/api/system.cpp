#include "core/api/system.hpp"

#include "core/access/principal.hpp"
#include "core/access/token.hpp"
#include "core/api/helpers.hpp"
#include "core/api/routes.hpp"
#include "core/store/ids.hpp"

#include <fmt/format.h>

#include <charconv>

namespace minions::core::api::system {
namespace {

struct TokenBody {
    std::string name;
    std::string scope = "manage";
    std::optional<std::int64_t> expires_seconds;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("name", self.name, Field{.required = true, .max_size = 64, .doc = "what it is for"});
        visit("scope", self.scope, Field{.max_size = 16, .doc = "read, exec, manage or admin"});
        visit("expires_seconds", self.expires_seconds,
              Field{.min = 1, .max = 315360000, .doc = "from now; absent: never"});
    }
};

Value describe(const TokenRow& row) {
    return Value::object({{"id", row.id},
                          {"name", row.name},
                          {"scope", row.scope},
                          {"last4", row.last4},
                          {"created_at", row.created_at},
                          {"expires_at", row.expires_at ? Value(*row.expires_at) : Value()}});
}

OperationPtr find_operation(Services& services, const http::Request& request) {
    auto operation = services.operations.find(request.param("id"));
    if (!operation) {
        throw Error(Code::not_found,
                    fmt::format("operation '{}' not found", request.param("id").substr(0, 64)));
    }
    return operation;
}

/// The header wins: a browser that reconnects sends it with the address it began with, `after` included.
std::optional<std::int64_t> position_of(const http::Request& request) {
    const auto header = request.header("Last-Event-ID");
    if (!header) return query_integer(request, "after", 0, INT64_MAX);
    std::int64_t id = 0;
    const auto [stop, error] = std::from_chars(header->data(), header->data() + header->size(), id);
    if (error != std::errc() || stop != header->data() + header->size() || id < 0) {
        throw Error(Code::invalid, "header 'Last-Event-ID' must be the id of an event");
    }
    return id;
}

/// How often an idle event stream says that it is alive, so that proxies do not cut it.
constexpr std::chrono::seconds heartbeat{15};

void send_events(http::Stream& stream, Subscription& subscription, const http::Client& client, int gone) {
    stream.start();
    while (!client.should_end()) {
        const auto event = subscription.next(std::chrono::steady_clock::now() + heartbeat, gone);
        if (event) {
            stream.write(fmt::format("id: {}\nevent: {}\ndata: {}\n\n", event->id, event->type,
                                     to_json(encode(*event))));
        } else if (!client.should_end()) {
            stream.write(": alive\n\n");
        }
    }
}

}  // namespace

http::Reply healthz(Services&, http::Request&) { return http::text(200, "ok\n"); }

http::Reply readyz(Services& services, http::Request&) {
    const std::string reason = services.not_ready();
    return reason.empty() ? http::text(200, "ready\n") : http::text(503, reason + "\n");
}

http::Reply metrics(Services& services, http::Request&) {
    return http::text(200, services.metrics(), "text/plain; version=0.0.4; charset=utf-8");
}

http::Reply openapi_document(Services& services, http::Request&) {
    static const auto document =
        std::make_shared<const std::string>(to_pretty_json(openapi(routes(), services.version)));
    return http::json_text(200, document);
}

http::Reply plugins(Services& services, http::Request&) { return http::json(200, services.plugins()); }

http::Reply operations(Services& services, http::Request& request) {
    const auto limit = query_integer(request, "limit", 1, 1000).value_or(100);
    return http::json(200, encode(services.operations.list(static_cast<std::size_t>(limit))));
}

http::Reply operation(Services& services, http::Request& request) {
    const auto operation = find_operation(services, request);
    Value document = encode(operation->row());
    document.set("progress", encode(operation->progress()));
    return http::json(200, document);
}

http::Reply cancel_operation(Services& services, http::Request& request) {
    const auto operation = find_operation(services, request);
    operation->cancel(fmt::format("cancelled by {}", request.principal.name));
    return http::json(202, encode(operation->row()));
}

http::Reply events(Services& services, http::Request& request) {
    const auto after = position_of(request);
    const auto client = request.client;
    auto reply = http::stream(200, "text/event-stream", [&services, after, client](http::Stream& stream) {
        const CallerGone gone(client, Lasts::for_ever);
        const auto subscription = services.events.subscribe(after);
        send_events(stream, *subscription, *client, gone.fd());
    });
    reply.headers.emplace_back("Cache-Control", "no-store");
    return reply;
}

http::Reply create_token(Services& services, http::Request& request) {
    const auto body = body_of<TokenBody>(request);
    if (body.name.empty()) throw Error(Code::invalid, "field 'name' must not be empty");
    if (!scope_from_word(body.scope)) {
        throw Error(Code::invalid, "field 'scope' must be one of read, exec, manage, admin");
    }
    const std::string token = generate_token();
    TokenRow row{
        new_id(), hash_token(token), body.name, body.scope, token.substr(token.size() - 4), now_rfc3339(),
        {}};
    if (body.expires_seconds) {
        row.expires_at =
            rfc3339(std::chrono::system_clock::now() + std::chrono::seconds(*body.expires_seconds));
    }
    services.tokens.add(row);
    Value reply = describe(row);
    reply.set("token", token);
    auto answer = http::json(201, reply);
    answer.headers.emplace_back("Cache-Control", "no-store");
    return answer;
}

http::Reply tokens(Services& services, http::Request&) {
    Value list = Value::array();
    for (const auto& row : services.tokens.list()) list.push(describe(row));
    return http::json(200, list);
}

http::Reply revoke_token(Services& services, http::Request& request) {
    const std::string& id = request.param("id");
    if (!services.tokens.remove(id)) {
        throw Error(Code::not_found, fmt::format("token '{}' not found", id.substr(0, 64)));
    }
    return http::json(200, Value::object({{"message", fmt::format("token '{}' revoked", id)}}));
}

Value operation_schema() {
    Value schema = schema_of<OperationRow>();
    schema.find("properties")->set("progress", schema_of<Progress>());
    return schema;
}
Value operations_schema() { return schema_of<std::vector<OperationRow>>(); }
Value create_token_schema() { return schema_of<TokenBody>(); }

}  // namespace minions::core::api::system
