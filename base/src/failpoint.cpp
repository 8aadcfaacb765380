#include <minions/base/failpoint.hpp>
#include <minions/base/sync.hpp>

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <span>
#include <thread>

// Defined by the linker, once in each program and shared object: hidden, so that none sees another's. Weak,
// since there need not be any point. NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
[[gnu::weak, gnu::visibility("hidden")]] extern minions::Failpoint* __start_minions_failpoints[];
[[gnu::weak, gnu::visibility("hidden")]] extern minions::Failpoint* __stop_minions_failpoints[];
}
// NOLINTEND(bugprone-reserved-identifier)

namespace minions {

namespace {

enum class Action { abort, fail, delay, hang, note };

struct Setting {
    std::string text;
    Action action = Action::note;
    std::chrono::milliseconds delay{0};
    std::uint64_t first = 1;
    std::uint64_t times = UINT64_MAX;
};

struct State {
    std::map<std::string, Setting, std::less<>> settings;
    std::map<std::string, std::uint64_t, std::less<>> hits;  ///< per name, since its setting was made
    std::uint64_t changes = 0;
};

Sync<State>& state() {
    static auto& state = *new Sync<State>;  // outlives every thread
    return state;
}

std::condition_variable& changed() {
    static auto& changed = *new std::condition_variable;
    return changed;
}

std::span<Failpoint*> points() {
    return {__start_minions_failpoints,
            static_cast<std::size_t>(__stop_minions_failpoints - __start_minions_failpoints)};
}

[[noreturn]] void refuse(std::string_view what) {
    throw std::invalid_argument("failpoints: '" + std::string(what) +
                                "' is not NAME=abort|fail|delay:MS|hang|note, with @N and *K as wanted");
}

/// Takes the number that stands behind `mark` at the end of `text`, and both off it.
std::optional<std::uint64_t> take_number(std::string_view& text, char mark, std::string_view whole) {
    const auto at = text.rfind(mark);
    if (at == std::string_view::npos) return std::nullopt;
    const std::string_view digits = text.substr(at + 1);
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc() || end != digits.data() + digits.size() || number == 0 || number > 1'000'000'000)
        refuse(whole);
    text = text.substr(0, at);
    return number;
}

Setting parse_setting(const std::string_view text) {
    Setting setting;
    setting.text = text;
    std::string_view rest = text;
    const auto times = take_number(rest, '*', text);
    const auto nth = take_number(rest, '@', text);
    const auto delay = take_number(rest, ':', text);
    if (nth) setting.first = *nth;
    if (times || nth) setting.times = times.value_or(1);
    if (rest == "abort")
        setting.action = Action::abort;
    else if (rest == "fail")
        setting.action = Action::fail;
    else if (rest == "hang")
        setting.action = Action::hang;
    else if (rest == "note")
        setting.action = Action::note;
    else if (rest == "delay" && delay)
        setting.action = Action::delay;
    else
        refuse(text);
    if (delay) {
        if (setting.action != Action::delay) refuse(text);
        setting.delay = std::chrono::milliseconds(*delay);
    }
    return setting;
}

std::string_view trim(std::string_view text) {
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    return text;
}

void tell(const std::string& line) {
    // One write, so that lines of several threads and processes do not mix.
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace

/// What may touch a point's flag.
struct FailpointTable {
    static void apply(const State& state) {
        const bool all = state.settings.contains("*");
        for (Failpoint* point : points())
            point->set_.store(all || state.settings.contains(std::string_view(point->name())),
                              std::memory_order_relaxed);
    }
    static void note_change(State& state) {
        ++state.changes;
        apply(state);
        changed().notify_all();
    }
};

FailpointError::FailpointError(std::string_view name)
    : std::runtime_error("failpoint " + std::string(name)) {}

void Failpoint::hit() {
    const std::string_view name = name_;
    Setting setting;
    {
        auto guard = state().lock();
        auto found = guard->settings.find(name);
        if (found == guard->settings.end()) found = guard->settings.find("*");
        if (found == guard->settings.end()) return;  // cleared just now
        const std::uint64_t count = ++guard->hits[std::string(name)];
        if (count < found->second.first || count - found->second.first >= found->second.times) return;
        setting = found->second;
        tell("failpoint " + std::string(name) + ": " + setting.text + "\n");
        if (setting.action == Action::hang)
            guard.wait(changed(),
                       [start = guard->changes](const State& now) { return now.changes != start; });
    }
    switch (setting.action) {
        case Action::abort:
            ::raise(SIGKILL);
            break;
        case Action::fail:
            throw FailpointError(name);
        case Action::delay:
            std::this_thread::sleep_for(setting.delay);
            break;
        case Action::hang:
        case Action::note:
            break;
    }
}

void set_failpoint(std::string_view name, std::string_view action) {
    const auto is_it = [&](const Failpoint* point) { return point->name() == name; };
    if (name != "*" && std::none_of(points().begin(), points().end(), is_it))
        throw std::invalid_argument("failpoints: there is no '" + std::string(name) + "' here");
    std::optional<Setting> setting;
    if (!action.empty()) setting = parse_setting(action);
    const auto guard = state().lock();
    if (setting)
        guard->settings.insert_or_assign(std::string(name), std::move(*setting));
    else
        guard->settings.erase(std::string(name));
    guard->hits.erase(std::string(name));
    if (name == "*") guard->hits.clear();
    FailpointTable::note_change(*guard);
}

void set_failpoints(std::string_view settings) {
    State wanted;
    bool list = false;
    while (!settings.empty()) {
        const auto end = std::min(settings.find(';'), settings.size());
        const std::string_view entry = trim(settings.substr(0, end));
        settings.remove_prefix(std::min(end + 1, settings.size()));
        if (entry.empty()) continue;
        if (entry == "list") {
            list = true;
            continue;
        }
        const auto equals = entry.find('=');
        if (equals == std::string_view::npos || equals == 0) refuse(entry);
        wanted.settings.insert_or_assign(std::string(trim(entry.substr(0, equals))),
                                         parse_setting(trim(entry.substr(equals + 1))));
    }
    if (list)
        for (const std::string& name : failpoint_names()) tell("failpoint " + name + "\n");
    const auto guard = state().lock();
    wanted.changes = guard->changes;
    *guard = std::move(wanted);
    FailpointTable::note_change(*guard);
}

std::vector<std::string> failpoint_names() {
    std::vector<std::string> names;
    for (const Failpoint* point : points()) names.emplace_back(point->name());
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    return names;
}

namespace {

/// As this program or plugin is loaded. A mistake ends it: a test that asked for a fault must not pass
/// without.
[[gnu::constructor]] void read_environment() {
    const char* settings = ::secure_getenv("MINIONS_FAILPOINTS");
    if (settings == nullptr || *settings == '\0') return;
    try {
        set_failpoints(settings);
    } catch (const std::exception& error) {
        tell(std::string(error.what()) + "\n");
        ::_exit(2);
    }
}

}  // namespace

}  // namespace minions
