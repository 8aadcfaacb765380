#include "core/app/notify.hpp"

#include <fmt/format.h>

#include <systemd/sd-daemon.h>

#include <ctime>

namespace minions::core::notify {

void ready() { ::sd_notify(0, "READY=1"); }

void reloading() {
    // Type=notify-reload wants to know when the reload began.
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const auto microseconds = static_cast<std::int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000;
    ::sd_notify(0, fmt::format("RELOADING=1\nMONOTONIC_USEC={}", microseconds).c_str());
}

void stopping() { ::sd_notify(0, "STOPPING=1"); }

void status(const std::string& sentence) { ::sd_notify(0, fmt::format("STATUS={}", sentence).c_str()); }

void watchdog() { ::sd_notify(0, "WATCHDOG=1"); }

std::optional<std::chrono::milliseconds> watchdog_interval() {
    std::uint64_t microseconds = 0;
    if (::sd_watchdog_enabled(0, &microseconds) <= 0) return std::nullopt;
    return std::chrono::milliseconds(microseconds / 2000);
}

}  // namespace minions::core::notify
