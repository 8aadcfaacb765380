#include "null_instance.hpp"

#include <minions/base/deadline.hpp>
#include <minions/examples/null_runtime.hpp>

#include <charconv>
#include <ctime>

namespace minions::examples {

std::int64_t number_label(const std::map<std::string, std::string>& labels, const std::string& name,
                          std::int64_t fallback) {
    const auto found = labels.find(name);
    if (found == labels.end()) return fallback;
    const std::string& text = found->second;
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || number < 0) {
        throw Error(Code::invalid, "label '" + name + "' must be a number, not '" + text + "'");
    }
    return number;
}

bool has_word(std::string_view list, std::string_view word) {
    while (!list.empty()) {
        const auto comma = list.find(',');
        if (list.substr(0, comma) == word) return true;
        list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
    }
    return false;
}

std::string utc_now() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    gmtime_r(&now, &parts);
    char text[32];
    return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

NullTimers::NullTimers() : thread_([this] { loop(); }) {}

NullTimers::~NullTimers() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void NullTimers::at(std::chrono::steady_clock::time_point when, std::function<void()> run) {
    const std::lock_guard lock(mutex_);
    due_.emplace(when, std::move(run));
    changed_.notify_all();
}

void NullTimers::loop() {
    std::unique_lock lock(mutex_);
    while (!stop_) {
        if (due_.empty()) {
            changed_.wait(lock);
            continue;
        }
        const auto when = due_.begin()->first;
        if (std::chrono::steady_clock::now() < when) {
            changed_.wait_until(lock, when);
            continue;
        }
        auto run = std::move(due_.begin()->second);
        due_.erase(due_.begin());
        lock.unlock();
        run();
        lock.lock();
    }
}

NullRuntime::NullRuntime(Host& host, Config config) : host_(host), config_(std::move(config)) {
    for (const auto& method : config_.fail) {
        if (method == "open") throw Error(Code::failed, "the null runtime was configured to fail");
    }
    timers_ = std::make_shared<NullTimers>();
}

void NullRuntime::misbehave(Context& ctx, std::string_view method,
                            const std::map<std::string, std::string>& labels) const {
    const std::string name(method);
    const auto hang = number_label(labels, "null.hang_ms." + name, 0);
    if (hang > 0) std::this_thread::sleep_for(milliseconds(hang));

    const auto delay = config_.delay_ms + number_label(labels, "null.delay_ms." + name, 0);
    if (delay > 0) {
        pollfd cancel{ctx.cancel_fd(), POLLIN, 0};
        poll_until(&cancel, 1, std::min(ctx.deadline(), deadline_in(milliseconds(delay))));
    }
    ctx.check();

    const auto wanted = labels.find("null.fail");
    bool fails = wanted != labels.end() && has_word(wanted->second, method);
    for (const auto& configured : config_.fail) fails = fails || configured == method;
    if (fails) {
        const auto code = labels.find("null.fail_code");
        throw Error(code == labels.end() ? Code::failed : code_from_word(code->second),
                    "the null runtime was asked to fail '" + name + "'", "remove the label null.fail");
    }
}

NullRuntime::Shared NullRuntime::find(const std::string& id) const {
    const auto instances = instances_.lock();
    const auto found = instances->find(id);
    if (found == instances->end()) {
        throw Error(Code::not_found, "the null runtime has no instance '" + id + "'");
    }
    return found->second;
}

NullRuntime::Shared NullRuntime::find_running(const std::string& id) const {
    auto instance = find(id);
    const Status status = instance->life.lock()->status;
    if (status != Status::running) {
        throw Error(Code::wrong_state, "the instance is " + std::string(word_of(status)) + ", not running",
                    "start it first");
    }
    return instance;
}

std::size_t NullRuntime::instance_count() const { return instances_.lock()->size(); }

Health NullRuntime::health(Context& ctx) {
    misbehave(ctx, "health", {});
    Health health;
    health.healthy = config_.healthy;
    if (!config_.healthy) health.reason = config_.reason;
    health.version = "1.0";
    for (const auto& facet : config_.missing) health.missing[facet] = "the configuration says so";
    return health;
}

RuntimeState NullRuntime::create(Context& ctx, const Instance& instance) {
    misbehave(ctx, "create", instance.spec.labels);
    if (instance.spec.image.starts_with("missing/")) {
        throw Error(Code::not_found, "there is no image '" + instance.spec.image + "'",
                    "any name that does not start with missing/ exists");
    }
    const RuntimeState state = add(ctx, instance, std::make_shared<NullInstance>(instance.id, instance.spec));
    misbehave(ctx, "create_late", instance.spec.labels);
    return state;
}

RuntimeState NullRuntime::copy(Context& ctx, const Instance& instance, const Instance& source) {
    misbehave(ctx, "copy", instance.spec.labels);
    const auto made = std::make_shared<NullInstance>(instance.id, instance.spec);
    auto files = find(source.id)->life.lock()->files;
    made->life.lock()->files = std::move(files);
    const RuntimeState state = add(ctx, instance, made);
    misbehave(ctx, "copy_late", instance.spec.labels);
    return state;
}

RuntimeState NullRuntime::add(Context& ctx, const Instance& instance, const Shared& made) {
    const auto row = ctx.journal().intend("null", instance.id);
    ctx.progress({.stage = "creating", .message = "making " + instance.name, .done = {}, .total = {}});
    if (!instances_.lock()->emplace(instance.id, made).second) {
        throw Error(Code::conflict, "the null runtime has an instance '" + instance.id + "' already");
    }
    row->held();
    save(*made);
    RuntimeState state{1, Value::object({{"handle", "null-" + instance.id}})};
    ctx.save_state(state);
    return state;
}

void NullRuntime::destroy(Context& ctx, const Instance& instance) {
    misbehave(ctx, "destroy", instance.spec.labels);
    Shared held;
    {
        const auto instances = instances_.lock();
        const auto found = instances->find(instance.id);
        if (found != instances->end()) {
            held = found->second;
            instances->erase(found);
        }
    }
    if (held) end_life(held, held->boot(), 137, false);
    forget(instance.id);
    ctx.journal().gone("null", instance.id);
}

InstanceFacts NullRuntime::inspect(Context& ctx, const Instance& instance) {
    misbehave(ctx, "inspect", instance.spec.labels);
    return find(instance.id)->facts();
}

void NullRuntime::release(Context& ctx, const JournalRow& row) {
    misbehave(ctx, "release", {});
    if (row.kind == "null") {
        instances_.lock()->erase(row.key);
        forget(row.key);
    } else if (row.kind == "image") {
        images_.lock()->erase(row.key);
    }
}

std::optional<InstanceFacts> NullRuntime::recover(Context& ctx, const Instance& instance) {
    misbehave(ctx, "recover", instance.spec.labels);
    Shared held = load(instance.id);
    if (!held) {
        // In memory alone it died with the daemon; its definition is enough to start it again.
        held = std::make_shared<NullInstance>(instance.id, instance.spec);
        held->life.lock()->boot = instance.boot;
    }
    instances_.lock()->insert_or_assign(instance.id, held);
    return held->facts();
}

void NullRuntime::recovered(Context& ctx) { misbehave(ctx, "recovered", {}); }

}  // namespace minions::examples
