#include "core/net/firewall.hpp"

#include "core/net/netlink.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <nftables/libnftables.h>

#include <algorithm>
#include <cerrno>
#include <memory>

namespace minions::core {
namespace {

constexpr const char* ports_set = "ports";
constexpr const char* guests_set = "guests";

/// Fields as rules() fills them in.
constexpr const char* routed = R"(
table inet {table} {{
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname != "{bridge}" accept
        ct state established,related accept
        ip daddr {gateway} icmp type echo-request accept
        drop
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname "{bridge}" oifname "{bridge}" {between}
        iifname "{bridge}" ip daddr 169.254.0.0/16 drop
        iifname "{bridge}" accept
        oifname "{bridge}" ct state established,related accept
        oifname "{bridge}" ct status dnat accept
        oifname "{bridge}" drop
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {network} oifname != "{bridge}" masquerade
    }}
}}
)";

/// From our ports (and no others') comes IPv4 and ARP in the guest's own name, and nothing else: no IPv6
/// either.
constexpr const char* bridged = R"(
table bridge {table} {{
    set ports {{
        type ifname
        {ports}
    }}
    set guests {{
        type ifname . ether_addr . ipv4_addr
        {guests}
    }}
    chain from_guests {{
        type filter hook prerouting priority dstnat; policy accept;
        iifname != @ports accept
        iifname . ether saddr . ip saddr @guests accept
        iifname . ether saddr . arp saddr ip @guests iifname . arp saddr ether . arp saddr ip @guests accept
        drop
    }}
}}
)";

/// Within the program: no other one need be installed, and none is started.
void run_nftables(const std::string& commands, const char* what) {
    const std::unique_ptr<nft_ctx, decltype(&::nft_ctx_free)> context(::nft_ctx_new(NFT_CTX_DEFAULT),
                                                                      &::nft_ctx_free);
    if (!context || ::nft_ctx_buffer_output(context.get()) != 0 || ::nft_ctx_buffer_error(context.get()) != 0)
        throw Error{Code::internal, "cannot use libnftables"};
    if (::nft_run_cmd_from_buffer(context.get(), commands.c_str()) == 0) return;
    std::string said = ::nft_ctx_get_error_buffer(context.get());
    said = said.substr(0, said.find('\n'));
    throw Error{Code::unavailable, fmt::format("{}: {}", what, said)};
}

/// As nftables joins the fields of a set's key: each filled up to four bytes.
std::string port_key(const GuestPort& guest) {
    std::string key(guest.device);
    key.resize(IFNAMSIZ);
    return key;
}

std::string guest_key(const GuestPort& guest) {
    std::string key = port_key(guest);
    ether_addr mac{};
    if (::ether_aton_r(guest.mac.c_str(), &mac) == nullptr)
        throw Error{Code::internal, fmt::format("'{}' is no MAC", guest.mac)};
    key.append(reinterpret_cast<const char*>(&mac), sizeof mac);
    key.append(2, '\0');
    const std::uint32_t address = htonl(guest.address);
    key.append(reinterpret_cast<const char*>(&address), sizeof address);
    return key;
}

NetlinkMessage element(std::uint16_t type, const std::string& table, const char* set,
                       const std::string& key) {
    const std::uint16_t flags = type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0;
    NetlinkMessage message(static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8U | type), flags);
    nfgenmsg header{};
    header.nfgen_family = NFPROTO_BRIDGE;
    message.header(header).text(NFTA_SET_ELEM_LIST_TABLE, table).text(NFTA_SET_ELEM_LIST_SET, set);
    message.nested(NFTA_SET_ELEM_LIST_ELEMENTS, [&](NetlinkMessage& list) {
        list.nested(NFTA_LIST_ELEM, [&](NetlinkMessage& one) {
            one.nested(NFTA_SET_ELEM_KEY,
                       [&](NetlinkMessage& value) { value.attribute(NFTA_DATA_VALUE, key); });
        });
    });
    return message;
}

std::string elements_text(const std::vector<std::string>& elements) {
    return elements.empty() ? "" : fmt::format("elements = {{ {} }}", fmt::join(elements, ", "));
}

}  // namespace

Firewall::Firewall(FirewallOptions options)
    : options_(std::move(options)), table_("minions_" + options_.installation) {}

std::string Firewall::rules(const std::vector<GuestPort>& guests) const {
    std::vector<std::string> ports;
    std::vector<std::string> names;
    for (const GuestPort& guest : guests) {
        ports.push_back(fmt::format("\"{}\"", guest.device));
        names.push_back(
            fmt::format("\"{}\" . {} . {}", guest.device, guest.mac, address_text(guest.address)));
    }
    return fmt::format(routed, fmt::arg("table", table_), fmt::arg("bridge", options_.bridge),
                       fmt::arg("gateway", address_text(options_.subnet.address)),
                       fmt::arg("network", options_.subnet.network_text()),
                       fmt::arg("between", options_.isolate ? "drop" : "accept")) +
           fmt::format(bridged, fmt::arg("table", table_), fmt::arg("ports", elements_text(ports)),
                       fmt::arg("guests", elements_text(names)));
}

void Firewall::set(const std::vector<GuestPort>& guests) const {
    // What is deleted must exist.
    const std::string fresh = fmt::format(
        "add table inet {0}\ndelete table inet {0}\nadd table bridge {0}\ndelete table bridge {0}\n", table_);
    run_nftables(fresh + rules(guests), "cannot set up nftables for VMs");
}

void Firewall::remove() const {
    run_nftables(fmt::format("add table inet {0}\ndelete table inet {0}\nadd table bridge {0}\n"
                             "delete table bridge {0}\n",
                             table_),
                 "cannot remove our nftables");
}

/// Both sets at once: a port is never among ours without a name that it may use.
int Firewall::change(std::uint16_t type, const GuestPort& guest) const {
    std::vector<NetlinkMessage> batch;
    batch.push_back(element(type, table_, guests_set, guest_key(guest)));
    batch.push_back(element(type, table_, ports_set, port_key(guest)));
    return NetlinkSocket(NETLINK_NETFILTER).transact(std::move(batch));
}

void Firewall::add(const GuestPort& guest) const {
    const int error = change(NFT_MSG_NEWSETELEM, guest);
    if (error == 0 || error == EEXIST) return;
    throw error_from_errno(
        error, fmt::format("cannot let {} speak: nftables table bridge {}", guest.device, table_));
}

void Firewall::remove(const GuestPort& guest) const {
    const int error = change(NFT_MSG_DELSETELEM, guest);
    // Without rights: those who had them made it, and it lets nobody speak once its device is gone.
    if (error == 0 || error == ENOENT || error == EPERM) return;
    throw error_from_errno(error,
                           fmt::format("cannot forget {}: nftables table bridge {}", guest.device, table_));
}

}  // namespace minions::core
