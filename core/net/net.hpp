#pragma once

#include "core/net/firewall.hpp"
#include "core/net/iptables.hpp"
#include "core/net/links.hpp"
#include "core/net/options.hpp"
#include "core/operations/instance_locks.hpp"
#include "core/store/store.hpp"

#include <minions/base/sync.hpp>
#include <minions/context.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace minions::core {

/// The network of VMs: one bridge with NAT, and a TAP for each VM that runs. Bridge and rules stay while the
/// daemon is down, because VMs live on. Everything carries the mark "minions <installation>" or is named
/// after it, and what carries no such mark is not touched. Works in the network namespace of the thread that
/// calls. [any thread]
class Net {
  public:
    Net(NetOptions options, Store& store);
    Net(const Net&) = delete;
    Net& operator=(const Net&) = delete;

    /// Makes what VMs need: bridge, address, rules, with the TAPs that the journal knows. May be repeated,
    /// and sets right what others have removed. Never throws: what is in the way is logged and said below.
    void prepare() noexcept;
    /// Another's packet filter may have come up, as Docker's does when that starts: lets VMs through it where
    /// it stops them now. Never throws, as above. Starts the program iptables.
    void pass_others() noexcept;
    /// Why VMs cannot be attached, and what to do; empty where they can, if only without a TAP.
    std::string unavailable_reason() const;

    /// The network as one call about an instance sees it; `uid` says whom the TAP is for, when there is to be
    /// one. The Net outlives it.
    std::unique_ptr<Network> for_call(const std::string& instance, const std::string& operation,
                                      std::function<unsigned()> uid);

    /// Whether release() undoes rows of that kind.
    static bool owns(std::string_view kind) { return kind == "tap" || kind == "iptables"; }
    /// As VmServices::release(), for what it owns.
    void release(const JournalRow& row);

    /// Removes all that is ours: TAPs (also those in use), rules, bridge. Forwarding stays on, others may
    /// have come to need it. Repeatable. Throws Error for what resists.
    void remove_all();

  private:
    class Call;
    enum class Mode { unprepared, taps, user, unavailable };
    struct State {
        Mode mode = Mode::unprepared;
        std::string reason;  ///< of user and unavailable
        int mtu = 1500;
    };
    struct Guest {
        std::int64_t slot = 0;
        GuestPort port;
        std::int64_t row = 0;
    };

    NetworkAttachment attach(const std::string& instance, const std::string& operation,
                             const std::function<unsigned()>& uid);
    void detach(const std::string& instance);

    void prepare(State& state);
    State ready_state();
    void set_up(State& state);
    Link bridge(Links& links, int mtu);
    static std::optional<std::string> installation_of(const Link& link);
    bool is_ours(const Link& bridge) const;
    bool take_over(Links& links, Link& link);
    void check_bridge(Links& links, const Link& link);
    void check_routes(Links& links, const std::optional<Link>& link);
    void own_bridge(Links& links, const Link& link, int mtu);
    void set_iptables();
    void reconnect(Links& links, const Link& bridge, const std::vector<GuestPort>& guests, int mtu);

    Guest intend(const std::string& instance, const std::string& operation, bool with_tap);
    void make(const Guest& guest, unsigned uid, int mtu);
    void connect(Links& links, const Link& bridge, const Link& tap, int mtu);
    void let_speak(const GuestPort& port);
    void undo(const std::string& device, const std::optional<GuestPort>& port);
    bool is_ours_tap(const Link& link) const;
    GuestPort port_of(const std::string& instance, std::int64_t slot) const;
    std::vector<GuestPort> known_guests();
    void log(LogLevel level, std::string_view message) const noexcept;

    const NetOptions options_;
    Store& store_;
    const std::string mark_;
    const GuestAddresses addresses_;
    const Firewall firewall_;
    const Iptables iptables_;
    InstanceLocks locks_;
    Sync<State> state_;
};

}  // namespace minions::core
