// What Net makes for all VMs together.
#include "core/net/net.hpp"
#include "core/store/ids.hpp"

#include <minions/base/failpoint.hpp>
#include <minions/base/id.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <optional>

namespace minions::core {
namespace {

const std::string mark_prefix = "minions ";
constexpr int default_mtu = 1500;
/// Routes to more than this are ways out (a tunnel may take the place of the default route), not networks.
constexpr int widest_network = 8;

bool may_administer_networks() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
    return ::syscall(SYS_capget, &header, data) == 0 && (data[0].effective & 1U << CAP_NET_ADMIN) != 0;
}

/// Why no TAP can be made here at all; empty where it can.
std::string missing_rights() {
    if (!may_administer_networks())
        return "the daemon lacks the right to administer networks (CAP_NET_ADMIN)";
    const Fd tun(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    return tun ? "" : fmt::format("/dev/net/tun cannot be opened ({})", std::strerror(errno));
}

bool is_tap_name(const std::string& name) { return name.starts_with("mn"); }

}  // namespace

void check_bridge_name(std::string_view name) {
    constexpr std::size_t longest = 15;
    if (name.empty()) return;
    const bool good = name.size() <= longest && name.front() != '.' &&
                      std::all_of(name.begin(), name.end(), [](unsigned char each) {
                          return std::isalnum(each) != 0 || each == '_' || each == '-' || each == '.';
                      });
    if (!good)
        throw Error{Code::invalid, fmt::format("must be the name of a network device, and is '{}'", name)};
    if (is_tap_name(std::string(name)))
        throw Error{Code::invalid,
                    fmt::format("must not begin as devices of VMs do (mn), and is '{}'", name)};
}

void check_mtu(std::string_view mtu) {
    constexpr int smallest = 576;
    const int number = std::atoi(std::string(mtu).c_str());
    if (number != 0 && number < smallest)
        throw Error{Code::invalid, fmt::format("must be 0 or at least {}, and is {}", smallest, mtu)};
}

void Net::prepare() noexcept {
    try {
        prepare(*state_.lock());
    } catch (...) {  // no memory for the reason
    }
}

void Net::pass_others() noexcept {
    try {
        const auto state = state_.lock();
        if (state->mode == Mode::taps && options_.manage) set_iptables();
    } catch (...) {
        log(LogLevel::warning, fmt::format("VMs may not reach the outside: {}", current_error().what()));
    }
}

void Net::prepare(State& state) {
    const State before = state;
    state.reason = options_.bridge.empty() ? "network.bridge is empty" : missing_rights();
    state.mode = state.reason.empty() ? Mode::taps : Mode::user;
    if (state.mode == Mode::taps) {
        try {
            set_up(state);
        } catch (...) {
            state.mode = Mode::unavailable;
            state.reason = current_error().what();
        }
    }
    if (state.reason.empty() || (state.mode == before.mode && state.reason == before.reason)) return;
    if (state.mode == Mode::user)
        log(LogLevel::info, fmt::format("VMs use user networking: {}", state.reason));
    else
        log(LogLevel::warning, fmt::format("VMs have no network: {}", state.reason));
}

Net::State Net::ready_state() {
    const auto state = state_.lock();
    if (state->mode == Mode::unprepared || state->mode == Mode::unavailable) prepare(*state);
    if (state->mode == Mode::unavailable) throw Error{Code::unavailable, state->reason};
    return *state;
}

void Net::set_up(State& state) {
    Links links;
    const auto uplink = links.uplink();
    state.mtu = options_.mtu != 0 ? options_.mtu : uplink ? uplink->mtu : default_mtu;
    const Link link = bridge(links, state.mtu);
    const auto guests = known_guests();
    if (options_.manage) {
        try {
            firewall_.set(guests);
        } catch (const Error& error) {
            throw Error{
                Code::unavailable, error.message(),
                "VMs would have neither NAT nor protection; if others see to these, set network.manage "
                "to false"};
        }
        set_sysctl("ipv4/ip_forward", "1");
        set_iptables();
    }
    reconnect(links, link, guests, state.mtu);
}

/// Whose mark it carries, if any.
std::optional<std::string> Net::installation_of(const Link& link) {
    if (!link.alias.starts_with(mark_prefix)) return std::nullopt;
    std::string id = link.alias.substr(mark_prefix.size());
    return is_id(id) ? std::optional(std::move(id)) : std::nullopt;
}

/// One that was cut off between its making and its mark is known by its MAC.
bool Net::is_ours(const Link& bridge) const {
    return bridge.alias == mark_ || (bridge.alias.empty() && bridge.mac == addresses_.bridge_mac());
}

/// The bridge, made where it is missing, refused where it is another's.
Link Net::bridge(Links& links, int mtu) {
    auto link = links.find(options_.bridge);
    check_routes(links, link);
    if (link) {
        if (!take_over(links, *link)) check_bridge(links, *link);
    } else if (!options_.manage) {
        throw Error{Code::unavailable, fmt::format("there is no bridge {}", options_.bridge),
                    "make it, or set network.manage to true"};
    } else {
        links.make_bridge(options_.bridge, addresses_.bridge_mac());
        MINIONS_FAILPOINT("net.bridge");
        link = links.find(options_.bridge);
        if (!link) throw Error{Code::unavailable, fmt::format("{} is gone again", options_.bridge)};
        own_bridge(links, *link, mtu);
        return *link;
    }
    if (is_ours(*link) && options_.manage) own_bridge(links, *link, mtu);
    return *link;
}

/// What another installation left behind: its bridge without a VM on it, and its rules. A reinstalled daemon
/// has another id. Should that one live after all, it finds out before it attaches its next VM.
bool Net::take_over(Links& links, Link& link) {
    const auto other = installation_of(link);
    if (!options_.manage || link.kind != "bridge" || is_ours(link) || !other) return false;
    for (const Link& port : links.all())
        if (port.master == link.index) return false;
    Firewall({*other, options_.bridge, options_.subnet, options_.isolate}).remove();
    for (const char* chain : {"FORWARD", "DOCKER-USER"})
        Iptables({mark_prefix + *other, options_.bridge, options_.isolate}).remove(chain);
    log(LogLevel::info,
        fmt::format("took over the bridge {} of another installation ({}), which had no VM on it", link.name,
                    *other));
    link.alias = mark_;
    return true;
}

void Net::own_bridge(Links& links, const Link& link, int mtu) {
    set_sysctl(fmt::format("ipv6/conf/{}/disable_ipv6", link.name), "1");
    LinkChange change;
    change.alias = mark_;
    change.mtu = mtu;
    change.up = true;
    links.change(link, change);
    for (const Subnet& address : links.addresses(link))
        if (address != options_.subnet) links.remove_address(link, address);
    links.add_address(link, options_.subnet);
}

void Net::check_bridge(Links& links, const Link& link) {
    const auto refuse = [&](const std::string& why) {
        return Error{Code::unavailable, fmt::format("the network device {} {}", link.name, why),
                     "set network.bridge to another name"};
    };
    if (link.kind != "bridge") throw refuse("is no bridge");
    if (is_ours(link) && options_.manage) return;
    if (const auto other = installation_of(link); other && !is_ours(link))
        throw refuse(fmt::format("belongs to another installation ({}), which has VMs on it", *other));
    const auto addresses = links.addresses(link);
    if (std::find(addresses.begin(), addresses.end(), options_.subnet) == addresses.end())
        throw refuse(fmt::format("is somebody else's: it does not have the address {} (network.subnet)",
                                 options_.subnet.text()));
    if (!options_.manage) return;
    // The rules keep what is on the bridge from the host; that must hit guests alone.
    for (const Link& port : links.all())
        if (port.master == link.index && !is_tap_name(port.name))
            throw refuse(fmt::format("is somebody else's: {} is a port of it", port.name));
}

void Net::check_routes(Links& links, const std::optional<Link>& link) {
    for (const Route& route : links.routes()) {
        if (route.to.prefix < widest_network || !route.to.overlaps(options_.subnet)) continue;
        if (link && route.device == link->index) continue;
        const auto device = route.device == 0 ? std::nullopt : links.find(route.device);
        throw Error{Code::unavailable,
                    fmt::format("the network of VMs, {}, overlaps with {}, which this host reaches by {}",
                                options_.subnet.network_text(), route.to.text(),
                                device ? device->name : "another device"),
                    "set network.subnet to a network that is free"};
    }
}

/// Rows come before rules, and stay until remove_all(): the chain may be needed again.
void Net::set_iptables() {
    try {
        const std::string chain = iptables_.needed_chain();
        if (chain.empty()) return;
        const auto row = store_.transact([&](Transaction& transaction) {
            for (const JournalRecord& record : transaction.journal())
                if (record.runtime.empty() && record.row.kind == "iptables" && record.row.key == chain)
                    return record.row.id;
            JournalRecord record;
            record.row.kind = "iptables";
            record.row.key = chain;
            record.created_at = now_rfc3339();
            return transaction.insert_journal(record);
        });
        iptables_.set(chain);
        store_.transact([&](Transaction& transaction) { transaction.hold_journal(row); });
    } catch (const Error& error) {
        // Guests are protected all the same; they may only be cut off.
        log(LogLevel::warning, fmt::format("VMs may not reach the outside: {}", error.what()));
    }
}

/// TAPs of VMs that live, where the bridge was made anew under them.
void Net::reconnect(Links& links, const Link& bridge, const std::vector<GuestPort>& guests, int mtu) {
    for (const GuestPort& guest : guests) {
        try {
            const auto tap = links.find(guest.device);
            if (tap && tap->alias == mark_ && tap->master != bridge.index) connect(links, bridge, *tap, mtu);
        } catch (const Error& error) {
            log(LogLevel::warning, error.what());
        }
    }
}

GuestPort Net::port_of(const std::string& instance, std::int64_t slot) const {
    return {"mn" + instance, addresses_.mac(slot), addresses_.address(slot)};
}

std::vector<GuestPort> Net::known_guests() {
    return store_.transact([&](Transaction& transaction) {
        std::vector<GuestPort> guests;
        for (const JournalRecord& record : transaction.journal()) {
            if (!record.runtime.empty() || record.row.kind != "tap") continue;
            const auto slot = transaction.vm_slot(record.row.instance);
            if (slot && *slot < addresses_.count()) guests.push_back(port_of(record.row.instance, *slot));
        }
        return guests;
    });
}

}  // namespace minions::core
