#include "core/api/v1.hpp"

#include "core/api/helpers.hpp"
#include "core/deployments/deployments.hpp"

#include <fmt/format.h>

namespace minions::core::api::v1 {
namespace {

struct StopBody {
    std::string container_name;
    bool remove = true;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("container_name", self.container_name, Field{.required = true, .max_size = 128});
        visit("remove", self.remove, Field{.doc = "remove the container and its image after stopping it"});
    }
};

Value describe(const DeploymentRow& row) {
    return Value::object({{"deployment_id", row.id},
                          {"agent_name", row.agent_name},
                          {"container_name", row.container_name},
                          {"repo_url", row.repo_url},
                          {"branch", row.branch},
                          {"status", row.status},
                          {"stage", row.stage},
                          {"error", row.error},
                          {"image", row.image},
                          {"created_at", row.created_at},
                          {"finished_at", row.finished_at ? Value(*row.finished_at) : Value()},
                          {"request", row.request}});
}

}  // namespace

http::Reply deploy(Services& services, http::Request& request) {
    auto body = decode<DeployRequest>(request.json());
    return answer(request, services.deployments.deploy(std::move(body), local_owner, idempotency_of(request)),
                  200);
}

http::Reply list(Services& services, http::Request& request) {
    return http::json(200, services.deployments.list(local_owner, query_flag(request, "all")));
}

http::Reply stop(Services& services, http::Request& request) {
    const auto body = body_of<StopBody>(request);
    check_name(body.container_name, "container_name");
    return answer(
        request,
        services.deployments.stop(local_owner, body.container_name, body.remove, idempotency_of(request)),
        200);
}

http::Reply health(Services& services, http::Request& request) {
    const std::string* path = request.query("path");
    const std::string& name = request.param("container_name");
    check_name(name, "container_name");
    const CallerGone gone(request.client);
    const CallLimits limits{std::chrono::steady_clock::now() + std::chrono::seconds(10), gone.fd()};
    return http::json(
        200, services.deployments.health(local_owner, name, path == nullptr ? "/health" : *path, limits));
}

http::Reply deployments(Services& services, http::Request& request) {
    const std::string* agent = request.query("agent_name");
    const auto limit = static_cast<std::size_t>(query_integer(request, "limit", 1, 1000).value_or(100));
    const auto rows = services.store.transact(
        [&](Transaction& t) { return t.deployments(local_owner, agent == nullptr ? "" : *agent, limit); });
    Value list = Value::array();
    for (const auto& row : rows) list.push(describe(row));
    return http::json(200, list);
}

http::Reply deployment(Services& services, http::Request& request) {
    const std::string& id = request.param("id");
    const auto row = services.store.transact([&](Transaction& t) { return t.deployment(id); });
    if (!row || row->owner != local_owner) {
        throw Error(Code::not_found, fmt::format("deployment '{}' not found", id.substr(0, 64)));
    }
    return http::json(200, describe(*row));
}

http::Reply log(Services& services, http::Request& request) {
    const bool follow = query_flag(request, "follow");
    const std::string id = request.param("id");
    const Lasts lasts = follow ? Lasts::for_ever : Lasts::to_its_end;
    return stream_from(
        request, "text/plain; charset=utf-8", lasts, [&services, id, follow](Fd out, int cancel_fd) {
            services.deployments.read_log(local_owner, id, follow, cancel_fd, [&](std::string_view text) {
                write_all(out.get(), text.data(), text.size());
            });
        });
}

Value deploy_schema() { return schema_of<DeployRequest>(); }
Value stop_schema() { return schema_of<StopBody>(); }

Value container_schema() {
    const auto type = [](const char* name) { return Value::object({{"type", name}}); };
    Value ports = type("object");
    ports.set("additionalProperties", type("integer"));
    return Value::object({{"type", "object"},
                          {"properties", Value::object({{"container_id", type("string")},
                                                        {"container_name", type("string")},
                                                        {"status", type("string")},
                                                        {"created", type("string")},
                                                        {"ports", std::move(ports)}})}});
}

Value containers_schema() { return Value::object({{"type", "array"}, {"items", container_schema()}}); }

}  // namespace minions::core::api::v1
