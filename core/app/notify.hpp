#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace minions::core {

/// Tells the service manager how the daemon is; does nothing where none asked ($NOTIFY_SOCKET). [any thread]
namespace notify {

void ready();
void reloading();
void stopping();
void status(const std::string& sentence);
void watchdog();

/// How often watchdog() has to be called: half of what the service manager allows; nullopt where it does not
/// watch.
std::optional<std::chrono::milliseconds> watchdog_interval();

}  // namespace notify
}  // namespace minions::core
