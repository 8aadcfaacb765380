#include "core/instances/impl.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

namespace minions::core {

namespace {

/// Everything that a call outside of operations checks first, in the order in which a person wants to know.
template <class Facet>
Facet& checked(const RuntimeHandle& handle, const InstanceView& view, Facet* RuntimeHandle::*facet,
               Action action) {
    if (handle.*facet == nullptr)
        throw Error{Code::unsupported_by_runtime,
                    fmt::format("the runtime '{}' does not have the facet '{}'", handle.name, Facet::facet),
                    "use an instance of a runtime that has it (GET /api/plugins)"};
    require_allowed(action, view.status, view.row.name, view.reason);
    return *(handle.*facet);
}

CallContext bounded(const Operations& operations, const InstanceView& view, const CallLimits& limits,
                    int stopping) {
    CallOptions options;
    options.runtime = view.row.runtime;
    options.instance = view.row.id;
    options.deadline = limits.deadline;
    options.cancel_fd = limits.cancel_fd;
    options.second_cancel_fd = stopping;
    return operations.call(std::move(options));
}

}  // namespace

ExecEnd Instances::exec(const InstanceKey& key, const ExecSpec& spec, ExecStreams streams,
                        CallLimits limits) {
    const auto view = impl_->need(key);
    ExecFacet& facet = checked(impl_->handle_of(view->row), *view, &RuntimeHandle::exec, Action::exec);
    auto call = bounded(impl_->operations, *view, limits, impl_->stopping.fd());
    return facet.exec(call, view->instance(), spec, std::move(streams));
}

void Instances::check_exec(const InstanceKey& key) const {
    const auto view = impl_->need(key);
    checked(impl_->handle_of(view->row), *view, &RuntimeHandle::exec, Action::exec);
}

void Instances::logs(const InstanceKey& key, const LogsSpec& spec, Fd out, CallLimits limits) {
    const auto view = impl_->need(key);
    LogsFacet& facet = checked(impl_->handle_of(view->row), *view, &RuntimeHandle::logs, Action::logs);
    auto call = bounded(impl_->operations, *view, limits, impl_->stopping.fd());
    facet.logs(call, view->instance(), spec, std::move(out));
}

void Instances::read_files(const InstanceKey& key, const std::string& path, Fd out, CallLimits limits) {
    const auto view = impl_->need(key);
    FilesFacet& facet = checked(impl_->handle_of(view->row), *view, &RuntimeHandle::files, Action::files);
    auto call = bounded(impl_->operations, *view, limits, impl_->stopping.fd());
    facet.read_files(call, view->instance(), path, std::move(out));
}

void Instances::write_files(const InstanceKey& key, const std::string& path, Fd in, CallLimits limits) {
    const auto view = impl_->need(key);
    FilesFacet& facet = checked(impl_->handle_of(view->row), *view, &RuntimeHandle::files, Action::files);
    auto call = bounded(impl_->operations, *view, limits, impl_->stopping.fd());
    facet.write_files(call, view->instance(), path, std::move(in));
}

Fd Instances::forward(const InstanceKey& key, int port, CallLimits limits) {
    const auto view = impl_->need(key);
    ForwardFacet& facet =
        checked(impl_->handle_of(view->row), *view, &RuntimeHandle::forward, Action::forward);
    auto call = bounded(impl_->operations, *view, limits, impl_->stopping.fd());
    return facet.forward(call, view->instance(), port);
}

Stats Instances::stats(const InstanceKey& key, CallLimits limits) {
    const auto view = impl_->need(key);
    StatsFacet& facet = checked(impl_->handle_of(view->row), *view, &RuntimeHandle::stats, Action::stats);
    auto call = bounded(impl_->operations, *view, limits, impl_->stopping.fd());
    return facet.stats(call, view->instance());
}

std::vector<SnapshotInfo> Instances::snapshots(const InstanceKey& key, CallLimits limits) {
    const auto view = impl_->need(key);
    SnapshotFacet& facet =
        checked(impl_->handle_of(view->row), *view, &RuntimeHandle::snapshot, Action::list_snapshots);
    auto call = bounded(impl_->operations, *view, limits, impl_->stopping.fd());
    return facet.list_snapshots(call, view->instance());
}

InstanceFacts Instances::inspect(const InstanceKey& key, CallLimits limits) {
    const auto view = impl_->need(key);
    auto call = bounded(impl_->operations, *view, limits, impl_->stopping.fd());
    const InstanceFacts facts = impl_->handle_of(view->row).runtime->inspect(call, view->instance());
    report(view->row.runtime, {view->row.id, view->row.boot, facts});
    return facts;
}

}  // namespace minions::core
