#pragma once

#include "core/instances/instances.hpp"
#include "tests/unit/core/store/temporary_directory.hpp"

#include <minions/error.hpp>
#include <minions/runtime.hpp>

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <poll.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace minions::core {

/// A runtime in memory that journals what it makes, remembers its calls and can be told to fail in any of
/// them.
class FakeRuntime final : public Runtime,
                          public LogsFacet,
                          public PauseFacet,
                          public ResizeFacet,
                          public StatsFacet,
                          public CopyFacet {
  public:
    struct State {
        std::map<std::string, InstanceFacts> instances;
        std::set<std::string> objects;  ///< what is journalled, by key
        std::vector<std::string> calls;
        std::set<std::string> failing;  ///< methods
        std::set<std::string> hanging;  ///< methods, or "method name": until cancelled
        std::map<std::string, Instance> seen;
    };
    Sync<State> state;
    std::condition_variable called;  ///< release()
    bool recover_knows = true;
    std::function<void(const Instance&)> within_start;
    std::function<void()> within_pause;
    Fd kept;  ///< what a hung logs() was given, as its thread would hold it

    Health health(Context&) override { return {true, "", "", {}}; }
    RuntimeState create(Context& ctx, const Instance& instance) override {
        ctx.log(LogLevel::info, "creating");
        make(ctx, "disk", instance.id);
        enter(ctx, "create", instance);
        make(ctx, "object", instance.id);
        state.lock()->instances[instance.id].status = Status::stopped;
        return {1, Value::object({{"made", instance.id}})};
    }
    InstanceFacts start(Context& ctx, const Instance& instance) override {
        enter(ctx, "start", instance);
        if (within_start) within_start(instance);
        return become(instance, Status::running);
    }
    InstanceFacts stop(Context& ctx, const Instance& instance, milliseconds) override {
        enter(ctx, "stop", instance);
        return become(instance, Status::stopped);
    }
    void kill(Context& ctx, const Instance& instance) override {
        enter(ctx, "kill", instance);
        become(instance, Status::stopped);
    }
    void destroy(Context& ctx, const Instance& instance) override {
        enter(ctx, "destroy", instance);
        state.lock()->instances.erase(instance.id);
    }
    InstanceFacts inspect(Context& ctx, const Instance& instance) override {
        enter(ctx, "inspect", instance);
        const auto now = state.lock();
        const auto at = now->instances.find(instance.id);
        if (at == now->instances.end()) throw Error{Code::not_found, "gone"};
        return at->second;
    }
    void release(Context&, const JournalRow& row) override {
        const auto now = state.lock();
        now->calls.push_back("release " + row.kind);
        called.notify_all();
        if (now->failing.contains("release")) throw Error{Code::unavailable, "release fails"};
        now->objects.erase(row.kind + row.key);
    }
    std::optional<InstanceFacts> recover(Context& ctx, const Instance& instance) override {
        enter(ctx, "recover", instance);
        const auto now = state.lock();
        const auto at = now->instances.find(instance.id);
        if (!recover_knows) return std::nullopt;
        if (at == now->instances.end()) throw Error{Code::not_found, "gone"};
        return at->second;
    }
    void recovered(Context&) override { state.lock()->calls.emplace_back("recovered"); }
    void logs(Context&, const Instance&, const LogsSpec&, Fd out) override {
        write_all(out.get(), "first\nlast\n", 11);
        if (!state.lock()->hanging.contains("logs")) return;
        kept = std::move(out);
        throw Error{Code::deadline, "logs does not return"};
    }
    InstanceFacts pause(Context& ctx, const Instance& instance) override {
        enter(ctx, "pause", instance);
        if (within_pause) within_pause();
        return become(instance, Status::paused);
    }
    InstanceFacts resume(Context& ctx, const Instance& instance) override {
        enter(ctx, "resume", instance);
        return become(instance, Status::running);
    }
    InstanceFacts resize(Context& ctx, const Instance& instance, const ResizeSpec&) override {
        enter(ctx, "resize", instance);
        return state.lock()->instances[instance.id];
    }
    RuntimeState copy(Context& ctx, const Instance& instance, const Instance& source) override {
        make(ctx, "disk", instance.id);
        enter(ctx, "copy", instance);
        make(ctx, "object", instance.id);
        state.lock()->instances[instance.id].status = Status::stopped;
        return {1, Value::object({{"made", instance.id}, {"of", source.id}})};
    }
    Stats stats(Context&, const Instance&) override {
        Stats stats;
        stats.uptime_secs = 5;
        return stats;
    }

    std::size_t count(const std::string& call) {
        const auto now = state.lock();
        return static_cast<std::size_t>(std::count(now->calls.begin(), now->calls.end(), call));
    }
    void fail(const std::string& method, bool on = true) {
        const auto now = state.lock();
        if (on)
            now->failing.insert(method);
        else
            now->failing.erase(method);
    }
    /// Waits until that method was called so often in all; false if that does not come about in time.
    bool wait_count(const std::string& call, long times, milliseconds patience) {
        return state.lock().wait_until(
            called, std::chrono::steady_clock::now() + patience,
            [&](const State& now) { return std::count(now.calls.begin(), now.calls.end(), call) >= times; });
    }
    bool empty() {
        const auto now = state.lock();
        return now->instances.empty() && now->objects.empty();
    }

  private:
    void enter(Context& ctx, const std::string& method, const Instance& instance) {
        bool hangs = false;
        {
            const auto now = state.lock();
            now->calls.push_back(method);
            now->seen[instance.id] = instance;
            if (now->failing.contains(method)) throw Error{Code::unavailable, method + " fails"};
            hangs = now->hanging.contains(method) || now->hanging.contains(method + " " + instance.name);
        }
        if (!hangs) return;
        pollfd fd{ctx.cancel_fd(), POLLIN, 0};
        poll_until(&fd, 1, std::chrono::steady_clock::now() + std::chrono::seconds(20));
        ctx.check();
    }
    void make(Context& ctx, const std::string& kind, const std::string& key) {
        auto entry = ctx.journal().intend(kind, key);
        state.lock()->objects.insert(kind + key);
        entry->held();
    }
    InstanceFacts become(const Instance& instance, Status status) {
        const auto now = state.lock();
        InstanceFacts& facts = now->instances[instance.id];
        facts.status = status;
        facts.ip = status == Status::stopped ? std::nullopt : std::optional<std::string>("10.0.0.2");
        return facts;
    }
};

class FakeRuntimes final : public Runtimes {
  public:
    explicit FakeRuntimes(FakeRuntime& runtime) {
        bind_facets(handle_, runtime);
        handle_.name = "fake";
        handle_.features = {"ports"};
        health_.lock()->healthy = true;
    }
    std::vector<const RuntimeHandle*> all() const override { return {&handle_}; }
    const RuntimeHandle* find(std::string_view name) const override {
        return name == "fake" ? &handle_ : nullptr;
    }
    Health health(const RuntimeHandle&) const override { return *health_.lock(); }
    const RuntimeHandle& default_runtime() const override { return require("fake"); }
    const RuntimeHandle& require(std::string_view name) const override {
        if (name != "fake") throw Error{Code::invalid, "no such runtime"};
        if (const auto now = std::exchange(when_asked, nullptr)) now();
        if (!health_.lock()->healthy) throw Error{Code::unavailable, "the engine is away"};
        return handle_;
    }
    mutable std::function<void()> when_asked;  ///< once, within the next require()
    void set_healthy(bool healthy) {
        *health_.lock() = {healthy, healthy ? "" : "the engine is away", "", {}};
    }

    /// Before the instances are used.
    void set_kind(RuntimeKind kind) { handle_.kind = kind; }

  private:
    RuntimeHandle handle_;
    Sync<Health> health_;
};

/// What a daemon's start makes, in its order; `crash()` drops it as a kill does, as far as a process can to
/// itself.
struct Daemon {
    Daemon(const std::filesystem::path& directory, FakeRuntime& runtime, OperationsOptions options = {})
        : store(directory),
          events(store),
          operations(store, options),
          runtimes(runtime),
          instances(store, events, operations, runtimes) {}
    ~Daemon() { operations.drain(SteadyTime::max()); }

    Store store;
    Events events;
    Operations operations;
    FakeRuntimes runtimes;
    Instances instances;
};

inline SteadyTime soon() { return std::chrono::steady_clock::now() + std::chrono::seconds(20); }

struct World {
    TemporaryDirectory directory;
    FakeRuntime runtime;
    std::unique_ptr<Daemon> daemon = std::make_unique<Daemon>(directory.path(), runtime);

    Instances& instances() { return daemon->instances; }
    void restart() {
        daemon.reset();
        daemon = std::make_unique<Daemon>(directory.path(), runtime);
    }
    CreateRequest request(const std::string& name) {
        CreateRequest made;
        made.name = name;
        made.spec.image = "image";
        return made;
    }
    Value create(const std::string& name) { return instances().create(request(name))->wait(soon()); }
    /// Looks at the health, and returns when what such a look has to do is done (operations are begun).
    void look() {
        for (int round = 0; round < 2; ++round) release_orphan();  // the second begins when the first is over
    }
    void release_orphan() {
        const auto before = runtime.count("release orphan");
        daemon->store.transact([](Transaction& transaction) {
            transaction.insert_journal({{0, "", "orphan", "x", true}, "fake", "endedendende", ""});
        });
        for (int patience = 0; patience < 200; ++patience) {
            instances().health_checked("fake");
            if (runtime.wait_count("release orphan", static_cast<long>(before) + 1, milliseconds(100)))
                return;
        }
        FAIL("the orphan is not released");
    }
    Status status(const std::string& name) { return instances().get({name})->status; }
    /// Waits for an event of that type.
    std::shared_ptr<const Event> wait_event(Subscription& reader, std::string_view type) {
        while (auto event = reader.next(soon()))
            if (event->type == type) return event;
        FAIL("no event " << type);
        return nullptr;
    }
};

template <class Fn>
Error error_of(Fn&& fn) {
    try {
        fn();
    } catch (const Error& error) {
        return error;
    }
    FAIL("nothing was thrown");
    return {Code::internal, ""};
}

}  // namespace minions::core
