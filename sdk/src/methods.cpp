#include "dispatcher.hpp"

#include <fmt/format.h>

#include <iterator>
#include <utility>

namespace minions::detail {
namespace {

template <class F>
F& facet(F* slot) {
    if (slot == nullptr) {
        throw Error(Code::unsupported_by_runtime, fmt::format("this runtime has no facet '{}'", F::facet));
    }
    return *slot;
}

MethodResult health(const FacetTable& to, MethodCall& call) {
    return {encode(to.runtime->health(call.context)), Fd()};
}
MethodResult create(const FacetTable& to, MethodCall& call) {
    return {encode(to.runtime->create(call.context, call.instance())), Fd()};
}
MethodResult start(const FacetTable& to, MethodCall& call) {
    return {encode(to.runtime->start(call.context, call.instance())), Fd()};
}
MethodResult stop(const FacetTable& to, MethodCall& call) {
    const milliseconds grace(call.parameters.grace_ms.value_or(0));
    return {encode(to.runtime->stop(call.context, call.instance(), grace)), Fd()};
}
MethodResult kill(const FacetTable& to, MethodCall& call) {
    to.runtime->kill(call.context, call.instance());
    return {};
}
MethodResult destroy(const FacetTable& to, MethodCall& call) {
    to.runtime->destroy(call.context, call.instance());
    return {};
}
MethodResult inspect(const FacetTable& to, MethodCall& call) {
    return {encode(to.runtime->inspect(call.context, call.instance())), Fd()};
}
MethodResult release(const FacetTable& to, MethodCall& call) {
    to.runtime->release(call.context, call.spec<JournalRow>());
    return {};
}
MethodResult recover(const FacetTable& to, MethodCall& call) {
    return {encode(to.runtime->recover(call.context, call.instance())), Fd()};
}
MethodResult recovered(const FacetTable& to, MethodCall& call) {
    to.runtime->recovered(call.context);
    return {};
}

MethodResult exec(const FacetTable& to, MethodCall& call) {
    ExecStreams streams;
    const std::pair<std::string_view, Fd*> places[] = {{"input", &streams.input},
                                                       {"output", &streams.output},
                                                       {"error", &streams.error},
                                                       {"control", &streams.control}};
    for (std::size_t i = 0; i < call.parameters.fds.size(); ++i) {
        for (const auto& [name, place] : places) {
            if (call.parameters.fds[i] == name) *place = call.take(i);
        }
    }
    auto& runtime = facet(to.exec);
    return {encode(runtime.exec(call.context, call.instance(), call.spec<ExecSpec>(), std::move(streams))),
            Fd()};
}
MethodResult logs(const FacetTable& to, MethodCall& call) {
    facet(to.logs).logs(call.context, call.instance(), call.spec<LogsSpec>(), call.take(0));
    return {};
}
MethodResult read_files(const FacetTable& to, MethodCall& call) {
    facet(to.files).read_files(call.context, call.instance(), call.name(), call.take(0));
    return {};
}
MethodResult write_files(const FacetTable& to, MethodCall& call) {
    facet(to.files).write_files(call.context, call.instance(), call.name(), call.take(0));
    return {};
}
MethodResult forward(const FacetTable& to, MethodCall& call) {
    auto& runtime = facet(to.forward);
    if (!call.parameters.port) throw Error(Code::invalid, "field 'port' is required");
    return {Value::object(), runtime.forward(call.context, call.instance(), *call.parameters.port)};
}
MethodResult pause(const FacetTable& to, MethodCall& call) {
    return {encode(facet(to.pause).pause(call.context, call.instance())), Fd()};
}
MethodResult resume(const FacetTable& to, MethodCall& call) {
    return {encode(facet(to.pause).resume(call.context, call.instance())), Fd()};
}
MethodResult resize(const FacetTable& to, MethodCall& call) {
    return {encode(facet(to.resize).resize(call.context, call.instance(), call.spec<ResizeSpec>())), Fd()};
}
MethodResult stats(const FacetTable& to, MethodCall& call) {
    return {encode(facet(to.stats).stats(call.context, call.instance())), Fd()};
}
MethodResult create_snapshot(const FacetTable& to, MethodCall& call) {
    auto& runtime = facet(to.snapshot);
    return {encode(runtime.create_snapshot(call.context, call.instance(), call.spec<SnapshotSpec>())), Fd()};
}
MethodResult list_snapshots(const FacetTable& to, MethodCall& call) {
    return {encode(facet(to.snapshot).list_snapshots(call.context, call.instance())), Fd()};
}
MethodResult restore_snapshot(const FacetTable& to, MethodCall& call) {
    return {encode(facet(to.snapshot).restore_snapshot(call.context, call.instance(), call.name())), Fd()};
}
MethodResult delete_snapshot(const FacetTable& to, MethodCall& call) {
    facet(to.snapshot).delete_snapshot(call.context, call.instance(), call.name());
    return {};
}
MethodResult copy(const FacetTable& to, MethodCall& call) {
    auto& runtime = facet(to.copy);
    if (!call.parameters.source) throw Error(Code::invalid, "field 'source' is required");
    return {encode(runtime.copy(call.context, call.instance(), *call.parameters.source)), Fd()};
}
MethodResult build(const FacetTable& to, MethodCall& call) {
    auto& runtime = facet(to.build);
    Fd context = call.take(0);
    Fd log = call.take(1);
    return {encode(runtime.build(call.context, call.spec<BuildSpec>(), std::move(context), std::move(log))),
            Fd()};
}
MethodResult remove_image(const FacetTable& to, MethodCall& call) {
    facet(to.build).remove_image(call.context, call.name());
    return {};
}

struct Method {
    std::string_view name;
    MethodResult (*call)(const FacetTable&, MethodCall&);
};

constexpr Method methods[] = {
    {seam::method::health, health},
    {seam::method::create, create},
    {seam::method::start, start},
    {seam::method::stop, stop},
    {seam::method::kill, kill},
    {seam::method::destroy, destroy},
    {seam::method::inspect, inspect},
    {seam::method::release, release},
    {seam::method::recover, recover},
    {seam::method::recovered, recovered},
    {seam::method::exec, exec},
    {seam::method::logs, logs},
    {seam::method::read_files, read_files},
    {seam::method::write_files, write_files},
    {seam::method::forward, forward},
    {seam::method::pause, pause},
    {seam::method::resume, resume},
    {seam::method::resize, resize},
    {seam::method::stats, stats},
    {seam::method::create_snapshot, create_snapshot},
    {seam::method::list_snapshots, list_snapshots},
    {seam::method::restore_snapshot, restore_snapshot},
    {seam::method::delete_snapshot, delete_snapshot},
    {seam::method::copy, copy},
    {seam::method::build, build},
    {seam::method::remove_image, remove_image},
};

}  // namespace

const Instance& MethodCall::instance() const {
    if (!parameters.instance) throw Error(Code::invalid, "field 'instance' is required");
    return *parameters.instance;
}

const std::string& MethodCall::name() const {
    if (!parameters.name) throw Error(Code::invalid, "field 'name' is required");
    return *parameters.name;
}

Fd MethodCall::take(std::size_t index) {
    if (index >= fds.size() || !fds[index]) {
        throw Error(Code::invalid, fmt::format("the call passed no descriptor {}", index));
    }
    return std::move(fds[index]);
}

MethodResult call_method(const FacetTable& table, const std::string& method, MethodCall& call) {
    for (const auto& known : methods) {
        if (known.name == method) return known.call(table, call);
    }
    throw Error(Code::unsupported_by_runtime,
                fmt::format("this runtime has no method '{}'", method.substr(0, 64)));
}

}  // namespace minions::detail
