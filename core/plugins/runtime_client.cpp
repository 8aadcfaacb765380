#include "core/plugins/runtime_client.hpp"

#include <minions/base/deadline.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace minions::core {
namespace {

/// How often a cancel is repeated while the plugin does not know the call yet.
constexpr milliseconds cancel_interval{20};

using Call = seam::InstanceCall;

Call on(const Instance& instance) {
    Call call;
    call.instance = instance;
    return call;
}

template <class Spec>
Call on(const Instance& instance, const Spec& spec) {
    Call call = on(instance);
    call.spec = encode(spec);
    return call;
}

Call named(const Instance& instance, const std::string& name) {
    Call call = on(instance);
    call.name = name;
    return call;
}

std::optional<std::int64_t> milliseconds_until(SteadyTime deadline) {
    if (deadline == SteadyTime::max()) return std::nullopt;
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
    return std::max<std::int64_t>(left.count(), 0);
}

SteadyTime later(SteadyTime time, milliseconds by) {
    return time > SteadyTime::max() - by ? SteadyTime::max() : time + by;
}

/// Parameters as they travel: members that the method does not use are left out.
Value compact(const Call& call) {
    Value all = encode(call);
    auto& members = *all.if_object();
    std::erase_if(members, [](const auto& member) {
        const auto* array = member.second.if_array();
        return member.second.is_null() || (array != nullptr && array->empty());
    });
    return all;
}

}  // namespace

RuntimeClient::RuntimeClient(const PluginDescription& description, PluginSink& sink, const Connect& connect,
                             ClientTimes times)
    : host_(std::make_shared<HostCalls>(sink)), times_(times) {
    auto& handle = host_->handle;
    handle.name = description.name;
    handle.version = description.version;
    handle.description = description.description;
    handle.kind = description.kind;
    handle.features = {description.features.begin(), description.features.end()};
    RuntimeHandle all;
    bind_facets(all, *this);
    handle.runtime = this;
    const auto take = [&]<class F>(F*& slot, F* facet) {
        if (std::find(description.facets.begin(), description.facets.end(), F::facet) ==
            description.facets.end()) {
            return;
        }
        slot = facet;
        handle.facets.emplace_back(F::facet);
    };
    take(handle.exec, all.exec);
    take(handle.logs, all.logs);
    take(handle.files, all.files);
    take(handle.forward, all.forward);
    take(handle.pause, all.pause);
    take(handle.resize, all.resize);
    take(handle.stats, all.stats);
    take(handle.snapshot, all.snapshot);
    take(handle.copy, all.copy);
    take(handle.build, all.build);
    transport_ = connect([host = host_](std::uint64_t serves, std::string_view text, std::vector<Fd> fds) {
        return host->serve(serves, text, std::move(fds));
    });
}

RuntimeClient::~RuntimeClient() = default;

RuntimeClient::Result RuntimeClient::read_reply(Message reply) const {
    Value document;
    try {
        document = parse_json(reply.text);
    } catch (const Error& error) {
        throw Error(Code::internal, fmt::format("runtime '{}' sent a reply that cannot be read: {}",
                                                host_->handle.name, error.message()));
    }
    if (const Value* error = document.find("e")) throw decode_error(*error);
    if (const Value* result = document.find("r")) return {*result, std::move(reply.fds)};
    throw Error(Code::internal,
                fmt::format("runtime '{}' sent a reply without a result", host_->handle.name));
}

RuntimeClient::Result RuntimeClient::invoke(Context& ctx, const char* method, const Call& parameters,
                                            std::vector<Fd> fds) {
    ctx.check();
    const seam::Request request{method, compact(parameters), milliseconds_until(ctx.deadline())};
    Message message{to_json(encode(request)), std::move(fds)};
    const auto entered = host_->calls.enter(ctx);
    struct Leave {
        PluginCalls& calls;
        const PluginCalls::Entered& entered;
        ~Leave() {
            entered.call->leave();
            calls.remove(entered.id);
        }
    } const leave{host_->calls, entered};
    transport_->call(entered.id, std::move(message),
                     [call = entered.call](Message reply) { call->finish(std::move(reply)); });
    Message reply = await(ctx, method, entered.id, entered.call);
    try {
        return read_reply(std::move(reply));
    } catch (const Error& error) {
        // The deadline is sent to the plugin as a cancellation too, and whichever it notices first it
        // reports.
        if (error.code() == Code::cancelled && !ctx.cancelled()) ctx.check();
        throw;
    }
}

Message RuntimeClient::await(Context& ctx, const char* method, std::uint64_t id,
                             const std::shared_ptr<PluginCall>& call) {
    SteadyTime limit = later(ctx.deadline(), times_.deadline_grace);
    bool cancelling = false;
    bool cancelled = false;
    for (;;) {
        SteadyTime wake = cancelling ? limit : ctx.deadline();
        if (cancelling && !call->cancel_found) wake = std::min(wake, deadline_in(cancel_interval));
        pollfd fds[] = {{call->finished().fd(), POLLIN, 0}, {cancelled ? -1 : ctx.cancel_fd(), POLLIN, 0}};
        poll_until(fds, std::size(fds), wake);
        if (auto reply = call->take_reply()) return std::move(*reply);

        const auto now = std::chrono::steady_clock::now();
        if (fds[1].revents != 0) {
            cancelled = true;
            cancelling = true;
            limit = std::min(limit, later(now, times_.cancel_grace));
        }
        if (now >= ctx.deadline()) cancelling = true;
        if (now >= limit) break;
        if (cancelling && !call->cancel_found) send_cancel(id, call);
    }
    report_hang(method);
    throw Error(cancelled ? Code::cancelled : Code::deadline,
                fmt::format("runtime '{}' does not return from '{}'", host_->handle.name, method),
                "see the daemon's log; restart the daemon if the runtime keeps hanging", !cancelled);
}

void RuntimeClient::send_cancel(std::uint64_t id, const std::shared_ptr<PluginCall>& call) {
    if (call->cancel_sent.exchange(true)) return;
    const seam::Request request{seam::method::cancel, Value::object({{"call", id}}), std::nullopt};
    transport_->call(host_->calls.next_id(), {to_json(encode(request)), {}}, [call](const Message& reply) {
        try {
            const Value document = parse_json(reply.text);
            call->cancel_found = document["r"]["found"].bool_or(true);
        } catch (...) {
            call->cancel_found = true;  // a plugin that cannot answer this need not be asked again
        }
        call->cancel_sent = false;
    });
}

void RuntimeClient::report_hang(const char* method) {
    const std::string text = fmt::format(
        "'{}' did not return in time and was given up; what it does from here on is not heard", method);
    host_->sink.on_log(host_->handle.name, LogLevel::error, text);
    transport_->give_up(text);
}

void RuntimeClient::open(const seam::Open& parameters, SteadyTime deadline) {
    // Nobody's Context: the constructor has no call that the host could serve.
    struct Opened {
        EventFd done;
        Sync<Message> reply;
    };
    const auto opened = std::make_shared<Opened>();
    transport_->open({to_json(encode(parameters)), {}}, [opened](Message reply) {
        *opened->reply.lock() = std::move(reply);
        opened->done.raise();
    });
    if (!opened->done.wait(deadline)) {
        transport_->give_up("the plugin's constructor did not return");
        throw Error(Code::deadline, fmt::format("the constructor of runtime '{}' did not return in time",
                                                host_->handle.name));
    }
    read_reply(std::move(*opened->reply.lock()));
}

template <class T>
T RuntimeClient::invoke_as(Context& ctx, const char* method, const Call& parameters, std::vector<Fd> fds) {
    const Result result = invoke(ctx, method, parameters, std::move(fds));
    try {
        T out{};
        detail::decode_into(out, result.value, detail::Path{}, Field{}, Unknown::ignore);
        return out;
    } catch (const Error& error) {
        throw Error(Code::internal, fmt::format("the reply of runtime '{}' to '{}' makes no sense: {}",
                                                host_->handle.name, method, error.message()));
    }
}

Health RuntimeClient::health(Context& ctx) { return invoke_as<Health>(ctx, seam::method::health, {}); }

RuntimeState RuntimeClient::create(Context& ctx, const Instance& instance) {
    return invoke_as<RuntimeState>(ctx, seam::method::create, on(instance));
}

InstanceFacts RuntimeClient::start(Context& ctx, const Instance& instance) {
    return invoke_as<InstanceFacts>(ctx, seam::method::start, on(instance));
}

InstanceFacts RuntimeClient::stop(Context& ctx, const Instance& instance, milliseconds grace) {
    Call call = on(instance);
    call.grace_ms = grace.count();
    return invoke_as<InstanceFacts>(ctx, seam::method::stop, call);
}

void RuntimeClient::kill(Context& ctx, const Instance& instance) {
    invoke(ctx, seam::method::kill, on(instance));
}

void RuntimeClient::destroy(Context& ctx, const Instance& instance) {
    invoke(ctx, seam::method::destroy, on(instance));
}

InstanceFacts RuntimeClient::inspect(Context& ctx, const Instance& instance) {
    return invoke_as<InstanceFacts>(ctx, seam::method::inspect, on(instance));
}

void RuntimeClient::release(Context& ctx, const JournalRow& row) {
    Call call;
    call.spec = encode(row);
    invoke(ctx, seam::method::release, call);
}

std::optional<InstanceFacts> RuntimeClient::recover(Context& ctx, const Instance& instance) {
    return invoke_as<std::optional<InstanceFacts>>(ctx, seam::method::recover, on(instance));
}

void RuntimeClient::recovered(Context& ctx) { invoke(ctx, seam::method::recovered, {}); }

ExecEnd RuntimeClient::exec(Context& ctx, const Instance& instance, const ExecSpec& spec,
                            ExecStreams streams) {
    Call call = on(instance, spec);
    std::vector<Fd> fds;
    const auto pass = [&](const char* name, Fd& fd) {
        if (!fd) return;
        call.fds.emplace_back(name);
        fds.push_back(std::move(fd));
    };
    pass("input", streams.input);
    pass("output", streams.output);
    pass("error", streams.error);
    pass("control", streams.control);
    return invoke_as<ExecEnd>(ctx, seam::method::exec, call, std::move(fds));
}

void RuntimeClient::logs(Context& ctx, const Instance& instance, const LogsSpec& spec, Fd out) {
    invoke(ctx, seam::method::logs, on(instance, spec), one(std::move(out)));
}

void RuntimeClient::read_files(Context& ctx, const Instance& instance, const std::string& path, Fd out) {
    invoke(ctx, seam::method::read_files, named(instance, path), one(std::move(out)));
}

void RuntimeClient::write_files(Context& ctx, const Instance& instance, const std::string& path, Fd in) {
    invoke(ctx, seam::method::write_files, named(instance, path), one(std::move(in)));
}

Fd RuntimeClient::forward(Context& ctx, const Instance& instance, int port) {
    Call call = on(instance);
    call.port = port;
    Result result = invoke(ctx, seam::method::forward, call);
    if (result.fds.size() != 1) {
        throw Error(Code::internal,
                    fmt::format("runtime '{}' answered 'forward' without a descriptor", host_->handle.name));
    }
    return std::move(result.fds[0]);
}

InstanceFacts RuntimeClient::pause(Context& ctx, const Instance& instance) {
    return invoke_as<InstanceFacts>(ctx, seam::method::pause, on(instance));
}

InstanceFacts RuntimeClient::resume(Context& ctx, const Instance& instance) {
    return invoke_as<InstanceFacts>(ctx, seam::method::resume, on(instance));
}

InstanceFacts RuntimeClient::resize(Context& ctx, const Instance& instance, const ResizeSpec& spec) {
    return invoke_as<InstanceFacts>(ctx, seam::method::resize, on(instance, spec));
}

Stats RuntimeClient::stats(Context& ctx, const Instance& instance) {
    return invoke_as<Stats>(ctx, seam::method::stats, on(instance));
}

SnapshotInfo RuntimeClient::create_snapshot(Context& ctx, const Instance& instance,
                                            const SnapshotSpec& spec) {
    return invoke_as<SnapshotInfo>(ctx, seam::method::create_snapshot, on(instance, spec));
}

std::vector<SnapshotInfo> RuntimeClient::list_snapshots(Context& ctx, const Instance& instance) {
    return invoke_as<std::vector<SnapshotInfo>>(ctx, seam::method::list_snapshots, on(instance));
}

InstanceFacts RuntimeClient::restore_snapshot(Context& ctx, const Instance& instance,
                                              const std::string& name) {
    return invoke_as<InstanceFacts>(ctx, seam::method::restore_snapshot, named(instance, name));
}

void RuntimeClient::delete_snapshot(Context& ctx, const Instance& instance, const std::string& name) {
    invoke(ctx, seam::method::delete_snapshot, named(instance, name));
}

RuntimeState RuntimeClient::copy(Context& ctx, const Instance& instance, const Instance& source) {
    Call call = on(instance);
    call.source = source;
    return invoke_as<RuntimeState>(ctx, seam::method::copy, call);
}

BuildResult RuntimeClient::build(Context& ctx, const BuildSpec& spec, Fd context, Fd log) {
    Call call;
    call.spec = encode(spec);
    std::vector<Fd> fds;
    fds.push_back(std::move(context));
    fds.push_back(std::move(log));
    return invoke_as<BuildResult>(ctx, seam::method::build, call, std::move(fds));
}

void RuntimeClient::remove_image(Context& ctx, const std::string& image) {
    Call call;
    call.name = image;
    invoke(ctx, seam::method::remove_image, call);
}

}  // namespace minions::core
