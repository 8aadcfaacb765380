#include "core/instances/view.hpp"

namespace minions::core {

namespace {

template <class T>
Value or_null(const std::optional<T>& value) {
    return value ? Value(*value) : Value();
}

}  // namespace

Instance InstanceView::instance() const {
    Instance made;
    made.id = row.id;
    made.name = row.name;
    made.owner = row.owner;
    made.boot = row.boot;
    made.spec = row.spec;
    made.state = row.state;
    return made;
}

Value view_document(const InstanceView& view) {
    const InstanceRow& row = view.row;
    Value environment = Value::object();
    for (const auto& [key, hidden] : row.spec.environment) environment.set(key, "***");
    return Value::object({
        {"name", row.name},
        {"status", word_of(view.status)},
        {"ip", or_null(row.facts.ip)},
        {"vsock_cid", or_null(row.facts.vsock_cid)},
        {"cpus", or_null(row.spec.cpus)},
        {"memory_mb", or_null(row.spec.memory_mb)},
        {"pid", or_null(row.facts.pid)},
        {"created_at", row.created_at},
        {"id", row.id},
        {"runtime", row.runtime},
        {"image", row.spec.image},
        {"disk_gb", or_null(row.spec.disk_gb)},
        {"command", encode(row.spec.command)},
        {"environment", std::move(environment)},
        {"labels", encode(row.spec.labels)},
        {"ports", encode(row.facts.ports)},
        {"exit_code", or_null(row.facts.exit_code)},
        {"health", or_null(row.facts.health)},
        {"reason", view.reason.empty() ? Value() : Value(view.reason)},
        {"handle", or_null(row.facts.handle)},
    });
}

InstanceViewPtr make_view(InstanceRow row, std::string unknown_because) {
    auto view = std::make_shared<InstanceView>();
    // What core itself is making or removing has a status that needs no runtime.
    const bool ours = row.status == Status::creating || row.status == Status::destroying;
    const bool known = ours || unknown_because.empty();
    view->status = known ? row.status : Status::unknown;
    view->reason = known ? row.facts.reason.value_or("") : std::move(unknown_because);
    view->row = std::move(row);
    view->json = std::make_shared<const std::string>(to_json(view_document(*view)));
    return view;
}

}  // namespace minions::core
