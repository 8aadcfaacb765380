#pragma once

#include "core/api/routes.hpp"
#include "core/api/services.hpp"
#include "core/http/server.hpp"
#include "tests/unit/core/null_world.hpp"

#include <minions/base/deadline.hpp>
#include <minions/http_client/client.hpp>

#include <catch2/catch.hpp>

namespace minions::core::test {

/// The whole interface over the null runtime, served on a Unix socket.
struct Api {
    explicit Api(NullRuntime::Config config = {}) : world(std::move(config)), server(options(), routes()) {}
    ~Api() {
        world.events.close();
        server.stop(std::chrono::seconds(5));
    }

    minions::http::Response call(const std::string& method, const std::string& target, const Value& body = {},
                                 minions::http::Headers headers = {}) const {
        minions::http::Request request{method, target, std::move(headers)};
        if (!body.is_null()) {
            request.headers.emplace_back("Content-Type", "application/json");
            request.body = to_json(body);
        }
        return client.request(request, {deadline_in(std::chrono::seconds(20))});
    }
    Value json(const std::string& method, const std::string& target, int status,
               const Value& body = {}) const {
        const auto reply = call(method, target, body);
        CAPTURE(method, target, reply.body);
        REQUIRE(reply.status == status);
        return parse_json(reply.body);
    }
    Value create(const std::string& name, const Value::Object& more = {}) const {
        Value body = Value::object({{"name", name}, {"image", "any"}});
        for (const auto& [key, value] : more) body.set(key, value);
        return json("POST", "/api/vms", 201, body);
    }

    World world;
    core::StoredTokens tokens{world.store};
    core::api::Services services{world.store,
                                 world.events,
                                 world.operations,
                                 world.runtimes,
                                 world.instances,
                                 *world.deployments,
                                 tokens,
                                 "1.2.3",
                                 [] { return Value::array(); },
                                 [] { return std::string("minions_up 1\n"); },
                                 [this] { return not_ready; },
                                 [this] { return output_bytes; },
                                 [] { return std::chrono::seconds(10); }};
    std::string not_ready;
    std::size_t output_bytes = 1 << 20;
    core::http::Server server;
    minions::http::Client client{minions::http::Endpoint::unix_socket(socket())};

  private:
    std::string socket() const { return world.directory / "api.sock"; }
    core::http::Options options() const {
        core::http::Options options;
        options.unix_sockets = {socket()};
        options.authorize = [](core::http::Request&, core::http::Permission) {
            return core::Principal{"test", core::Scope::admin};
        };
        return options;
    }
    core::http::Router routes() {
        return core::http::Router(core::api::bind_routes(core::api::routes(), services));
    }
};

}  // namespace minions::core::test
