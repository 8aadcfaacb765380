#include "core/net/net.hpp"

#include "core/net/resolvers.hpp"
#include "core/store/ids.hpp"

#include <minions/base/failpoint.hpp>
#include <minions/base/id.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace minions::core {
namespace {

constexpr const char* kind = "tap";
constexpr std::int64_t first_cid = 3;

std::string device_of(const std::string& instance) {
    if (!is_id(instance)) throw Error{Code::internal, fmt::format("'{}' is no id of an instance", instance)};
    return "mn" + instance;
}

}  // namespace

class Net::Call final : public Network {
  public:
    Call(Net& net, std::string instance, std::string operation, std::function<unsigned()> uid)
        : net_(net), instance_(std::move(instance)), operation_(std::move(operation)), uid_(std::move(uid)) {}
    NetworkAttachment attach() override { return net_.attach(instance_, operation_, uid_); }
    void detach() override { net_.detach(instance_); }

  private:
    Net& net_;
    const std::string instance_;
    const std::string operation_;
    const std::function<unsigned()> uid_;
};

Net::Net(NetOptions options, Store& store)
    : options_(std::move(options)),
      store_(store),
      mark_("minions " + store.installation()),
      addresses_(options_.subnet, store.installation()),
      firewall_({store.installation(), options_.bridge, options_.subnet, options_.isolate}),
      iptables_({mark_, options_.bridge, options_.isolate}) {}

void Net::log(LogLevel level, std::string_view message) const noexcept {
    try {
        if (options_.log) options_.log(level, message);
    } catch (...) {  // a line is lost
    }
}

std::string Net::unavailable_reason() const {
    const auto state = state_.lock();
    return state->mode == Mode::unavailable ? state->reason : "";
}

std::unique_ptr<Network> Net::for_call(const std::string& instance, const std::string& operation,
                                       std::function<unsigned()> uid) {
    return std::make_unique<Call>(*this, instance, operation, std::move(uid));
}

/// The slot, and where there will be a TAP its row.
Net::Guest Net::intend(const std::string& instance, const std::string& operation, bool with_tap) {
    const std::int64_t count = std::min(options_.slots, addresses_.count());
    Guest guest;
    guest.port.device = device_of(instance);
    store_.transact([&](Transaction& transaction) {
        guest.slot = transaction.vm_slot(instance, count);
        if (guest.slot >= count)
            throw Error{Code::no_space,
                        fmt::format("the VM's number {} has no address in {}", guest.slot,
                                    options_.subnet.network_text()),
                        "widen network.subnet and vms.uid_count, or destroy the VM"};
        if (!with_tap) return;
        transaction.delete_journal("", instance, kind, guest.port.device);
        JournalRecord record;
        record.row.instance = instance;
        record.row.kind = kind;
        record.row.key = guest.port.device;
        record.operation = operation;
        record.created_at = now_rfc3339();
        guest.row = transaction.insert_journal(record);
    });
    guest.port = port_of(instance, guest.slot);
    return guest;
}

NetworkAttachment Net::attach(const std::string& instance, const std::string& operation,
                              const std::function<unsigned()>& uid) {
    const auto held = locks_.hold(instance, SteadyTime::max());
    const State state = ready_state();
    const bool with_tap = state.mode == Mode::taps;
    const Guest guest = intend(instance, operation, with_tap);
    NetworkAttachment attachment;
    attachment.vsock_cid = first_cid + guest.slot;
    if (!with_tap) return attachment;
    try {
        make(guest, uid(), state.mtu);
        store_.transact([&](Transaction& transaction) { transaction.hold_journal(guest.row); });
        MINIONS_FAILPOINT("net.tap.after");
    } catch (...) {
        const Error failure = current_error();
        try {
            undo(guest.port.device, guest.port);
            store_.transact([&](Transaction& transaction) { transaction.delete_journal(guest.row); });
        } catch (const Error& error) {  // the row stays, for whoever undoes the operation
            log(LogLevel::warning, error.what());
        }
        throw failure;
    }
    attachment.device = guest.port.device;
    attachment.mac = guest.port.mac;
    attachment.address = Subnet{guest.port.address, options_.subnet.prefix}.text();
    attachment.gateway = address_text(options_.subnet.address);
    attachment.dns = options_.dns.empty() ? host_resolvers() : options_.dns;
    attachment.mtu = state.mtu;
    return attachment;
}

void Net::make(const Guest& guest, unsigned uid, int mtu) {
    Links links;
    auto bridge = links.find(options_.bridge);
    const auto whose = bridge ? installation_of(*bridge) : std::nullopt;
    if (!bridge || (whose && !is_ours(*bridge))) {  // somebody has removed it, or taken it over
        prepare();
        if (const auto reason = unavailable_reason(); !reason.empty()) throw Error{Code::unavailable, reason};
        bridge = links.find(options_.bridge);
        if (!bridge) throw Error{Code::unavailable, fmt::format("there is no bridge {}", options_.bridge)};
    }
    const std::string& device = guest.port.device;
    if (const auto stale = links.find(device); stale && is_ours_tap(*stale)) links.remove(device);
    MINIONS_FAILPOINT("net.tap.before");
    links.make_tap(device, uid);
    MINIONS_FAILPOINT("net.tap.made");
    const auto tap = links.find(device);
    if (!tap) throw Error{Code::failed, fmt::format("the TAP {} is gone again", device)};
    set_sysctl(fmt::format("ipv6/conf/{}/disable_ipv6", device), "1");
    let_speak(guest.port);
    MINIONS_FAILPOINT("net.tap.rules");
    connect(links, *bridge, *tap, mtu);
}

void Net::connect(Links& links, const Link& bridge, const Link& tap, int mtu) {
    LinkChange change;
    change.alias = mark_;
    change.master = bridge.index;
    change.mtu = mtu;
    change.isolated = options_.isolate;
    change.up = true;
    links.change(tap, change);
}

void Net::let_speak(const GuestPort& port) {
    try {
        firewall_.add(port);
    } catch (const Error& error) {
        if (error.code() != Code::not_found) throw;
        if (!options_.manage) return;
        prepare();  // a firewall that was loaded anew has thrown out our tables
        if (const auto reason = unavailable_reason(); !reason.empty()) throw Error{Code::unavailable, reason};
        firewall_.add(port);
    }
}

/// By its mark, or by the row where it was cut off before it had one.
bool Net::is_ours_tap(const Link& link) const {
    return link.kind == "tun" && (link.alias == mark_ || link.alias.empty());
}

void Net::undo(const std::string& device, const std::optional<GuestPort>& port) {
    Links links;
    const auto link = links.find(device);
    if (link && is_ours_tap(*link)) links.remove(device);
    if (port) firewall_.remove(*port);
}

void Net::detach(const std::string& instance) {
    const std::string device = device_of(instance);
    const auto held = locks_.hold(instance, SteadyTime::max());
    std::optional<GuestPort> port;
    const bool has_row = store_.transact([&](Transaction& transaction) {
        if (const auto slot = transaction.vm_slot(instance)) port = port_of(instance, *slot);
        const auto rows = transaction.journal_of_instance(instance);
        return std::any_of(rows.begin(), rows.end(), [&](const JournalRecord& record) {
            return record.runtime.empty() && record.row.kind == kind;
        });
    });
    if (!has_row) return;
    undo(device, port);
    store_.transact(
        [&](Transaction& transaction) { transaction.delete_journal("", instance, kind, device); });
}

void Net::release(const JournalRow& row) {
    if (row.kind == "iptables") return iptables_.remove(row.key);
    const auto held = locks_.hold(row.instance, SteadyTime::max());
    const auto slot =
        store_.transact([&](Transaction& transaction) { return transaction.vm_slot(row.instance); });
    undo(row.key, slot ? std::optional(port_of(row.instance, *slot)) : std::nullopt);
}

void Net::remove_all() {
    Links links;
    for (const Link& link : links.all())
        if (link.kind == "tun" && link.alias == mark_) links.remove(link.name);
    const auto rows = store_.transact([](Transaction& transaction) { return transaction.journal(); });
    for (const JournalRecord& record : rows) {
        if (!record.runtime.empty() || !owns(record.row.kind)) continue;
        release(record.row);
        store_.transact([&](Transaction& transaction) { transaction.delete_journal(record.row.id); });
    }
    firewall_.remove();
    const auto bridge = links.find(options_.bridge);
    if (bridge && bridge->kind == "bridge" && is_ours(*bridge)) links.remove(bridge->name);
    state_.lock()->mode = Mode::unprepared;
}

}  // namespace minions::core
