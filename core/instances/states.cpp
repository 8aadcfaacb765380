#include "core/instances/states.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

#include <initializer_list>
#include <iterator>

namespace minions::core {

namespace {

constexpr unsigned bit(Status status) { return 1U << static_cast<unsigned>(status); }
constexpr unsigned set(std::initializer_list<Status> statuses) {
    unsigned bits = 0;
    for (const Status status : statuses) bits |= bit(status);
    return bits;
}

using enum Status;

struct Rule {
    Action action;
    const char* word;
    unsigned statuses;
};

// `unknown` is in no set but destroy's: whoever cannot be asked cannot be changed.
constexpr Rule rules[] = {
    {Action::start, "start", set({stopped, error})},
    {Action::stop, "stop", set({running, paused})},
    {Action::force_stop, "stop by force", set({running, paused, starting, stopping, stopped, error})},
    {Action::restart, "restart", set({running, paused, stopped, error})},
    {Action::pause, "pause", set({running})},
    {Action::resume, "resume", set({paused})},
    {Action::resize, "resize", set({running, stopped})},
    {Action::rename, "rename", set({running, paused, stopped, error})},
    {Action::copy, "copy", set({running, paused, stopped})},
    {Action::destroy, "destroy",
     set({creating, starting, running, paused, stopping, stopped, error, destroying, unknown})},
    {Action::exec, "exec in", set({running})},
    {Action::logs, "read the logs of",
     set({creating, starting, running, paused, stopping, stopped, error, destroying})},
    {Action::files, "copy files of", set({running, paused, stopped, error})},
    {Action::forward, "connect to", set({running})},
    {Action::stats, "read the stats of", set({running})},
    {Action::snapshot, "snapshot", set({running, paused, stopped})},
    {Action::list_snapshots, "list the snapshots of",
     set({starting, running, paused, stopping, stopped, error})},
    {Action::restore_snapshot, "restore", set({running, paused, stopped, error})},
    {Action::delete_snapshot, "delete a snapshot of", set({running, paused, stopped, error})},
};

constexpr bool in_order() {
    for (std::size_t i = 0; i < std::size(rules); ++i)
        if (static_cast<std::size_t>(rules[i].action) != i) return false;
    return std::size(rules) == static_cast<std::size_t>(Action::delete_snapshot) + 1;
}
static_assert(in_order());

const Rule& rule(Action action) { return rules[static_cast<std::size_t>(action)]; }

std::string statuses_of(unsigned bits) {
    std::string words;
    for (std::size_t i = 0; i < std::size(EnumWords<Status>::words); ++i)
        if ((bits & (1U << i)) != 0)
            fmt::format_to(std::back_inserter(words), "{}{}", words.empty() ? "" : ", ",
                           EnumWords<Status>::words[i]);
    return words;
}

}  // namespace

bool allowed(Action action, Status status) noexcept { return (rule(action).statuses & bit(status)) != 0; }

void require_allowed(Action action, Status status, std::string_view name, std::string_view reason) {
    if (allowed(action, status)) return;
    const Rule& broken = rule(action);
    if (status == Status::unknown)
        throw Error{Code::unavailable, fmt::format("the state of VM '{}' is unknown: {}", name, reason),
                    "try again when its runtime is back", true};
    throw Error{Code::wrong_state,
                fmt::format("cannot {} VM '{}' while it is {}", broken.word, name, word_of(status)),
                fmt::format("possible while it is: {}", statuses_of(broken.statuses))};
}

bool is_name(std::string_view name) noexcept {
    const auto inner = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
    if (name.empty() || name.size() > 63 || name.front() == '-' || name.back() == '-') return false;
    for (const char c : name)
        if (!inner(c)) return false;
    return true;
}

void check_name(std::string_view name, std::string_view field) {
    if (is_name(name)) return;
    throw Error{Code::invalid, fmt::format("field '{}' is no name", field),
                "use 1 to 63 of a-z, 0-9 and '-', with a letter or digit first and last"};
}

}  // namespace minions::core
