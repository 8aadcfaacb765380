#pragma once

#include <atomic>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace minions {

/// A named place where tests can make this program fail, die or wait, made by MINIONS_FAILPOINT alone.
///
/// Names are "area.step.before" and "area.step.after" around an effect that is journalled or committed, and
/// plain "area.step" elsewhere: "net.tap.before", "store.commit.after". Words are [a-z0-9_]+. The name of a
/// runtime is not in them.
///
/// What a point does is said by the environment, when the program or the plugin is loaded:
///
///     MINIONS_FAILPOINTS="net.tap.after=abort; vm.boot.before=fail@2; store.commit.before=delay:50*3"
///
///   abort     the process is gone, as by kill -9
///   fail      throws FailpointError
///   delay:MS  sleeps
///   hang      waits until the point is cleared, which the environment never does: kill the process
///   note      only tells that it was passed
///   @N        only the Nth time (from 1)        *K   only K times       @N*K   K times from the Nth on
///
/// The name "*" stands for every point that has no entry of its own: "*=note" shows the way that an operation
/// takes. What a point does is told on stderr: "failpoint net.tap.after: abort".
///
/// Base is linked statically into the program and into each plugin, so each of them has a table of its own:
/// an entry is for all that have a point of that name, and names that nobody has are not refused. The entry
/// "list" makes each print the names of its own points as it is loaded ("failpoint net.tap.after"), plugins
/// too.
class Failpoint {
  public:
    constexpr explicit Failpoint(const char* name) noexcept : name_(name) {}
    Failpoint(const Failpoint&) = delete;
    Failpoint& operator=(const Failpoint&) = delete;

    /// Costs one relaxed load where nothing is set. Throws FailpointError if so asked.
    void pass() {
        if (set_.load(std::memory_order_relaxed)) hit();
    }
    const char* name() const noexcept { return name_; }

  private:
    friend struct FailpointTable;
    void hit();

    const char* name_;
    std::atomic<bool> set_{false};
};

/// What `fail` throws.
struct FailpointError : std::runtime_error {
    explicit FailpointError(std::string_view name);
};

/// Sets one point of this program or plugin ("fail@2"), for unit tests; "" clears it and ends its hang.
/// Counting begins anew. Throws std::invalid_argument for an action that is none, or a name (not "*") that no
/// point has. [any thread]
void set_failpoint(std::string_view name, std::string_view action);

/// As the environment: replaces everything that is set. Throws std::invalid_argument. [any thread]
void set_failpoints(std::string_view settings);

/// The points of this program or plugin, in order. [any thread]
std::vector<std::string> failpoint_names();

}  // namespace minions

#ifndef MINIONS_NO_FAILPOINTS
/// A point in a function of a source file; not in templates or inline functions, whose copies the linker
/// merges. The pointers lie side by side in one section: so the table is complete before anything runs.
#define MINIONS_FAILPOINT(name)                                                                            \
    do {                                                                                                   \
        static constinit ::minions::Failpoint minions_failpoint{name};                                     \
        [[gnu::section("minions_failpoints"),                                                              \
          gnu::used]] static constinit ::minions::Failpoint* minions_failpoint_entry = &minions_failpoint; \
        minions_failpoint.pass();                                                                          \
    } while (false)
#else
#define MINIONS_FAILPOINT(name) static_cast<void>(name)
#endif
