#pragma once

#include <sys/types.h>

#include <string_view>

/// Signals for commands inside a container, sent from the host: the engine's API has none for an exec. An
/// exec'ed command leads a session of its own (runc and crun call setsid), so that its pid names its process
/// group and its session. Needs the engine's pid namespace and CAP_KILL.
namespace minions::docker {

/// Whether the process is one of that container's, by its cgroup. A pid alone identifies nothing.
bool in_container(pid_t pid, std::string_view container_id);

/// Sends a signal to the group that `leader` leads. Returns false if that is gone or not of this container.
/// Throws Error{unavailable} when the daemon may not.
bool signal_group(pid_t leader, std::string_view container_id, int signal);

/// SIGKILL to the group that `leader` leads and to everything left in its session, children made meanwhile
/// included; returns once all are dead, at most after a second. Returns false if something could not be
/// killed.
bool kill_session(pid_t leader, std::string_view container_id);

}  // namespace minions::docker
