#pragma once

#include <minions/types.hpp>

#include <string>
#include <string_view>

namespace minions::core {

/// What can be asked of an instance; the one table of states.cpp says in which status.
enum class Action {
    start,
    stop,
    force_stop,
    restart,
    pause,
    resume,
    resize,
    rename,
    copy,
    destroy,
    exec,
    logs,
    files,
    forward,
    stats,
    snapshot,
    list_snapshots,
    restore_snapshot,
    delete_snapshot,
};

bool allowed(Action action, Status status) noexcept;

/// Throws wrong_state with the present status and those in which it would work, unavailable for `unknown`
/// (with `reason`).
void require_allowed(Action action, Status status, std::string_view name, std::string_view reason = {});

/// Throws invalid unless `name` is [a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?. `field` is what the message calls it.
void check_name(std::string_view name, std::string_view field = "name");
bool is_name(std::string_view name) noexcept;

}  // namespace minions::core
