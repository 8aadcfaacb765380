#include "core/app/serve.hpp"

#include "core/app/daemon.hpp"
#include "core/app/log.hpp"
#include "core/app/notify.hpp"
#include "core/app/signals.hpp"
#include "core/app/version.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <iostream>
#include <thread>

namespace minions::core {
namespace {

/// What a stop may take in all, and what of it is given to requests and operations under way.
constexpr std::chrono::milliseconds stop_limit{9500};
constexpr std::chrono::milliseconds stop_grace{7000};

/// Each connection and each instance takes descriptors; the soft limit is a default for programs that use
/// select().
void raise_descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

void reload(Config& config, Daemon& daemon, Log& log) {
    notify::reloading();
    try {
        const auto result = config.reload();
        daemon.apply_reloaded();
        for (const auto& key : result.changed) log.info(fmt::format("'{}' has a new value", key));
        for (const auto& key : result.needs_restart) {
            log.warning(
                fmt::format("'{}' differs in the configuration now and takes effect after a restart", key));
        }
        log.info("the configuration was read again");
    } catch (const Error& error) {
        log.error(fmt::format("the configuration was not taken over: {}", error.what()));
    }
    notify::ready();
}

/// A plugin that does not return must not keep the daemon from ending: what is left is the next start's to
/// resolve.
void end_at_the_latest_in(std::chrono::milliseconds time, Log& log) {
    std::thread([time, &log] {
        std::this_thread::sleep_for(time);
        log.warning("something did not end in time; leaving it");
        ::_exit(0);
    }).detach();
}

/// Returns when a signal asks to end.
int run(Config& config, Daemon& daemon, Log& log) {
    const auto interval = notify::watchdog_interval();
    for (;;) {
        const auto signal = wait_for_signal(interval);
        if (!signal) {
            notify::watchdog();
        } else if (*signal == SIGHUP) {
            reload(config, daemon, log);
        } else {
            return *signal;
        }
    }
}

}  // namespace

int serve(const ServeOptions& options) {
    block_signals();
    raise_descriptor_limit();
    Config config(options.config);
    Log log(STDERR_FILENO, log_format_of(config.string("log.format"), STDERR_FILENO),
            log_level_of(config.string("log.level")));
    log.info("starting", Value::object({{"version", version()}}));
    Daemon daemon(config, log);
    for (const auto& warning : config.warnings()) log.warning(warning);

    daemon.wait_for_runtimes(std::chrono::seconds(1));
    const auto addresses = daemon.addresses();
    std::cout << fmt::format("minions ready: {}\n", fmt::join(addresses, " ")) << std::flush;
    notify::ready();
    notify::status(fmt::format("answers at {}", fmt::join(addresses, " ")));

    const int signal = run(config, daemon, log);
    log.info("stopping", Value::object({{"signal", signal}}));
    notify::stopping();
    end_at_the_latest_in(stop_limit, log);
    daemon.stop(stop_grace);
    log.info("stopped");
    return 0;
}

}  // namespace minions::core
