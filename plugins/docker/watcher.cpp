#include "plugins/docker/watcher.hpp"

#include "plugins/docker/json_lines.hpp"
#include "plugins/docker/labels.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace minions::docker {
namespace {

using namespace std::chrono_literals;

constexpr milliseconds first_pause = 100ms;
constexpr milliseconds longest_pause = 2s;
/// Pids of containers found running by a list are looked up at this pace, so that a start with a thousand of
/// them is not a thousand inspections at once.
constexpr milliseconds idle_pace = 20ms;
constexpr milliseconds first_retry = 250ms;
constexpr milliseconds longest_retry = 5s;
/// An engine whose build was given up may commit one more layer before it notices, and has no event for that.
constexpr milliseconds tidy_pause = 2s;
/// Among the instances that are looked at, it stands for what builds left.
const std::string leftovers_task;

/// Podman names events in its own words and may not filter by them.
std::string event_filter(const std::string& installation, bool podman) {
    Value filter =
        Value::object({{"type", Value::array({"container"})},
                       {"label", Value::array({fmt::format("{}={}", label::installation, installation)})}});
    if (!podman) {
        filter.set("event", Value::array({"create", "start", "die", "pause", "unpause", "oom", "destroy",
                                          "health_status"}));
    }
    return to_json(filter);
}

}  // namespace

InstanceFacts removed_outside() {
    InstanceFacts facts;
    facts.status = Status::error;
    facts.reason = "its container was removed outside minions; destroy the instance";
    return facts;
}

Watcher::Watcher(Engine& engine, Registry& registry, Leftovers& leftovers, Host& host)
    : engine_(engine), registry_(registry), leftovers_(leftovers), host_(host) {}

Watcher::~Watcher() {
    stop_.raise();
    tasks_.lock()->stop = true;
    wake_.notify_all();
    if (listener_.joinable()) listener_.join();
    if (worker_.joinable()) worker_.join();
}

void Watcher::start() {
    if (started_.exchange(true)) return;
    worker_ = std::thread([this] { work(); });
    listener_ = std::thread([this] { listen(); });
}

Patience Watcher::patience(milliseconds span) const { return {deadline_in(span), stop_.fd()}; }

void Watcher::look(const std::string& instance) {
    {
        auto tasks = tasks_.lock();
        if (!tasks->queued.insert(instance).second) return;
        tasks->now.push_back(instance);
    }
    wake_.notify_all();
}

void Watcher::tidy_up() {
    tasks_.lock()->tidy_due = deadline_in(tidy_pause);
    look(leftovers_task);
}

void Watcher::listen() {
    pause_ = first_pause;
    while (!stop_.raised()) {
        try {
            listen_once();
        } catch (const Error& error) {
            if (stop_.raised()) return;
            if (connected_) {
                host_.log(LogLevel::warning, fmt::format("the engine went away: {}", error.what()));
            }
        } catch (const std::exception& error) {
            host_.log(LogLevel::error, fmt::format("watching the engine failed: {}", error.what()));
        }
        if (connected_.exchange(false)) host_.health_changed();
        stop_.wait(deadline_in(pause_));
        pause_ = std::min(pause_ * 2, longest_pause);
    }
}

/// One connection: subscribe first, then list, so that nothing falls between the two.
void Watcher::listen_once() {
    const EngineVersion version = engine_.version(patience(5s));
    const Patience forever{no_deadline, stop_.fd()};
    Incoming events = engine_.open(
        forever, "GET", "/events?filters=" + encoded(event_filter(host_.installation(), version.podman)));
    if (events.status() != 200) {
        throw failure({events.status(), events.rest()}, "the engine's events cannot be read");
    }
    connected_ = true;
    pause_ = first_pause;
    host_.health_changed();
    list();
    tidy_up();
    JsonLines lines([this](const Value& message) {
        if (const auto event = container_event(message)) handle(*event);
    });
    for (auto bytes = events.read(); !bytes.empty(); bytes = events.read()) lines.feed(bytes);
    throw Error(Code::unavailable, "it closed the stream of events");
}

void Watcher::handle(const ContainerEvent& event) {
    if (event.action.starts_with("exec_")) return;
    // A step of a build has ended. If the daemon that asked for the build is no more, what it made is
    // nobody's.
    if (event.instance.empty()) return tidy_up();
    // Of a destroyed instance only a new container is news.
    if (registry_.destroyed(event.instance) && event.action != "create") return;
    look(event.instance);
}

void Watcher::list() {
    registry_.forget_facts();
    // Known before the engine is asked: what a call changes meanwhile makes the list's facts stale.
    const auto all = registry_.all();
    const auto elements =
        engine_.list(patience(60s), "the containers cannot be listed",
                     "/containers/json?all=1&filters=" + encoded(label::filter(host_.installation())));
    std::map<std::string, const Value*> by_instance;
    for (const auto& element : elements) {
        const Value& labels = element["Labels"];
        const auto instance = labels[label::instance].string_or("");
        // Not every engine honours the filter, and images hand the first label on.
        if (label::is_ours(labels, host_.installation()) && !instance.empty()) {
            by_instance.emplace(instance, &element);
        }
    }
    for (const auto& [id, known] : all) {
        const auto found = by_instance.find(id);
        look_at_listed(id, known, found == by_instance.end() ? nullptr : found->second);
        by_instance.erase(id);
    }
    for (const auto& [instance, element] : by_instance) {
        if (registry_.destroyed(instance)) {
            look(instance);
            continue;
        }
        const std::string container = (*element)["Id"].string_or("");
        if (registry_.knows(instance) || !orphans_.insert(container).second) continue;
        host_.log(LogLevel::warning, fmt::format("container {} carries this installation's label, and no "
                                                 "instance of the daemon is its own (instance '{}')",
                                                 container.substr(0, 12), instance));
    }
}

void Watcher::look_at_listed(const std::string& instance, const Known& known, const Value* element) {
    if (element == nullptr) {
        // One that was never made has nothing to lose; others are looked at by their id once more.
        if (!known.container.empty()) look(instance);
        return;
    }
    const InstanceFacts facts = facts_from_list(*element);
    if (known.container.empty() && facts.handle) registry_.set_container(instance, *facts.handle);
    // Why one ended badly is not in a list.
    if (facts.exit_code.value_or(0) != 0) return look(instance);
    report(instance, known.turn, facts);
    if (facts.status == Status::running || facts.status == Status::paused) {
        // Only now: the worker looks at it at once, and the list, which knows no pid, would have the last
        // word.
        tasks_.lock()->idle.push_back(instance);
        wake_.notify_all();
    }
}

void Watcher::work() {
    while (const auto instance = next()) {
        try {
            if (check(*instance)) {
                tasks_.lock()->failed.erase(*instance);
            } else {
                look_again(*instance, {});
            }
        } catch (const Error& error) {
            look_again(*instance, error.what());
        } catch (const std::exception& error) {
            host_.log(LogLevel::error,
                      fmt::format("looking at instance '{}' failed: {}", *instance, error.what()));
        }
    }
}

/// Waits for an instance to look at. Returns nullopt at the end.
std::optional<std::string> Watcher::next() {
    const auto take = [](std::deque<std::string>& queue) {
        std::string first = std::move(queue.front());
        queue.pop_front();
        return first;
    };
    auto tasks = tasks_.lock();
    for (;;) {
        if (tasks->stop) return std::nullopt;
        if (!tasks->now.empty()) {
            std::string instance = take(tasks->now);
            tasks->queued.erase(instance);
            return instance;
        }
        const auto now = Deadline::clock::now();
        if (tasks->tidy_due <= now) {
            tasks->tidy_due = no_deadline;
            return leftovers_task;
        }
        Deadline until = tasks->tidy_due;
        for (auto& [instance, retry] : tasks->failed) {
            if (retry.due <= now) {
                retry.due = no_deadline;
                return instance;
            }
            until = std::min(until, retry.due);
        }
        if (!tasks->idle.empty()) {
            if (tasks->idle_due <= now) {
                tasks->idle_due = now + idle_pace;
                return take(tasks->idle);
            }
            until = std::min(until, tasks->idle_due);
        }
        const auto idle = tasks->idle.size();
        tasks.wait_until(wake_, until,
                         [&](const Tasks& t) { return t.stop || !t.now.empty() || t.idle.size() != idle; });
    }
}

/// What an event told must not be lost because the engine failed one question.
void Watcher::look_again(const std::string& instance, const std::string& why) {
    auto tasks = tasks_.lock();
    Retry& retry = tasks->failed[instance];
    retry.pause = std::clamp(retry.pause * 2, first_retry, longest_retry);
    retry.due = deadline_in(retry.pause);
    // That the engine is away is said once, and not for each instance.
    if (why.empty() || !connected_ || std::exchange(retry.told, true)) return;
    host_.log(LogLevel::warning, instance == leftovers_task
                                     ? fmt::format("what builds left is not removed yet: {}", why)
                                     : fmt::format("instance {} is looked at again: {}", instance, why));
}

/// Returns false if it is to be asked again later.
bool Watcher::check(const std::string& instance) {
    if (instance == leftovers_task) return leftovers_.remove(engine_, patience(30s), host_.installation());
    if (registry_.destroyed(instance)) {
        // The engine finished a create whose caller had given up, after the instance was destroyed.
        remove_containers(engine_, patience(30s), host_, instance);
        return true;
    }
    const auto known = registry_.find(instance);
    if (!known || known->container.empty()) return true;
    const Reply reply =
        engine_.call(patience(30s), "GET", fmt::format("/containers/{}/json", known->container));
    if (!reply.ok() && reply.status != 404) throw failure(reply, "the container cannot be inspected");
    const InstanceFacts facts =
        reply.status == 404 ? removed_outside()
                            : facts_from_inspect(object_in(reply, "the container cannot be inspected"));
    report(instance, known->turn, facts);
    return true;
}

void Watcher::report(const std::string& instance, std::uint64_t turn, const InstanceFacts& facts) {
    const std::lock_guard one_at_a_time(reporting_);
    if (const auto boot = registry_.take(instance, turn, facts)) host_.report({instance, *boot, facts});
}

}  // namespace minions::docker
