#include "tests/unit/core/net/support.hpp"

#include <minions/base/failpoint.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <set>

namespace minions::core {
namespace {

const std::string first = "aaaaaaaaaaaa";
const std::string second = "bbbbbbbbbbbb";

std::string elements(const Host& host) {
    return command(fmt::format("nft list set bridge {} guests", host.table()));
}

std::string links() { return command("ip -o link"); }

/// Sets a failpoint for as long as it lives.
struct FailsAt {
    FailsAt(const char* name, const char* action) : name_(name) { set_failpoint(name, action); }
    ~FailsAt() { set_failpoint(name_, ""); }
    FailsAt(const FailsAt&) = delete;
    FailsAt& operator=(const FailsAt&) = delete;

  private:
    const char* name_;
};

TEST_CASE("the daemon makes bridge and rules by itself, and again without a change") {
    Namespace().run([] {
        Host host;
        host.net->prepare();
        CHECK(host.net->unavailable_reason().empty());
        const auto bridge = command("ip addr show br0");
        CHECK(contains(bridge, "inet 10.0.0.1/16"));
        CHECK(Links().find("br0")->alias == host.mark());
        CHECK(contains(bridge, ",UP"));
        CHECK_FALSE(contains(bridge, "inet6"));
        CHECK(command("cat /proc/sys/net/ipv4/ip_forward") == "1\n");
        CHECK(command("cat /proc/sys/net/ipv6/conf/br0/disable_ipv6") == "1\n");
        const auto rules = command("nft list ruleset");
        CHECK(contains(rules, "masquerade"));
        CHECK(contains(rules, "table bridge " + host.table()));

        host.net->prepare();
        CHECK(command("nft list ruleset") == rules);
        CHECK(command("ip addr show br0") == bridge);
        CHECK(host.log.lock()->empty());
    });
}

TEST_CASE("the bridge is of our size and in our subnet") {
    Namespace().run([] {
        command("ip link add up0 mtu 1400 type veth peer name peer0");
        command("ip addr add 192.0.2.1/24 dev up0");
        command("ip link set up0 up");
        command("ip route add default via 192.0.2.254");
        NetOptions options;
        options.subnet = parse_subnet("172.30.0.1/24");
        options.bridge = "vms0";
        Host host(options);
        host.net->prepare();
        CHECK(contains(command("ip addr show vms0"), "inet 172.30.0.1/24"));
        const auto attachment = host.attach(first);
        CHECK(attachment.mtu == 1400);
        CHECK(contains(command("ip link show mn" + first), "mtu 1400"));
        CHECK(attachment.address == "172.30.0.2/24");
        CHECK(attachment.gateway == "172.30.0.1");

        options.mtu = 1300;
        options.subnet = parse_subnet("172.31.0.1/24");
        Net changed(options, host.store);
        changed.prepare();
        CHECK(changed.unavailable_reason().empty());
        CHECK(contains(command("ip addr show vms0"), "inet 172.31.0.1/24"));
        CHECK_FALSE(contains(command("ip addr show vms0"), "172.30.0.1"));
        CHECK(contains(command("ip link show vms0"), "mtu 1300"));
    });
}

TEST_CASE("what is another's is refused with the setting to change, and not touched") {
    const auto refused = [](const std::vector<std::string>& before, const std::string& why,
                            const std::string& setting) {
        Namespace().run([&] {
            for (const auto& line : before) command(line);
            const auto links_before = command("ip -d addr");
            Host host;
            host.net->prepare();
            CHECK(contains(host.net->unavailable_reason(), why));
            CHECK(contains(host.net->unavailable_reason(), setting));
            CHECK(contains(*host.log.lock(), why));
            try {
                host.attach(first);
                FAIL("attached");
            } catch (const Error& error) {
                CHECK(error.code() == Code::unavailable);
                CHECK(contains(error.what(), why));
            }
            CHECK(command("ip -d addr") == links_before);
            CHECK(command("nft list ruleset").empty());
            CHECK(host.journal().empty());
        });
    };
    SECTION("a bridge with no address") {
        refused({"ip link add br0 type bridge"}, "br0 is somebody else's", "network.bridge");
    }
    SECTION("a bridge with another address") {
        refused({"ip link add br0 type bridge", "ip addr add 10.0.0.2/16 dev br0"}, "br0 is somebody else's",
                "network.bridge");
    }
    SECTION("a bridge with a device of another's") {
        refused({"ip link add br0 type bridge", "ip addr add 10.0.0.1/16 dev br0",
                 "ip link add up0 type veth peer name peer0", "ip link set up0 master br0"},
                "up0 is a port of it", "network.bridge");
    }
    SECTION("a device that is no bridge") {
        refused({"ip link add br0 type veth peer name peer0"}, "br0 is no bridge", "network.bridge");
    }
    SECTION("a network that another device is in") {
        refused({"ip link add up0 type veth peer name peer0", "ip link set up0 up",
                 "ip addr add 10.0.3.4/24 dev up0"},
                "overlaps with 10.0.3", "network.subnet");
    }
    SECTION("a wider network behind another device") {
        refused({"ip link add up0 type veth peer name peer0", "ip link set up0 up",
                 "ip addr add 192.0.2.1/24 dev up0", "ip route add 10.0.0.0/8 via 192.0.2.9"},
                "overlaps with 10.0.0.0/8", "network.subnet");
    }
}

TEST_CASE("a bridge that somebody made with exactly our address is used as it is") {
    Namespace().run([] {
        command("ip link add br0 type bridge");
        command("ip addr add 10.0.0.1/16 dev br0");
        command("ip link set br0 up");
        Host host;
        host.net->prepare();
        CHECK(host.net->unavailable_reason().empty());
        CHECK(host.attach(first).address == "10.0.0.2/16");
        CHECK_FALSE(contains(command("ip link show br0"), "alias"));
        host.net->remove_all();
        CHECK(contains(links(), "br0"));
    });
}

TEST_CASE("two installations do not share a bridge") {
    Namespace().run([] {
        command("iptables -P FORWARD DROP");
        Host one;
        Host two;
        one.net->prepare();
        one.attach(first);
        two.net->prepare();
        CHECK(contains(two.net->unavailable_reason(), one.store.installation()));
        CHECK(contains(two.net->unavailable_reason(), "network.bridge"));
        CHECK_THROWS_AS(two.attach(first), Error);
        CHECK(contains(elements(one), first));

        one.detach(first);  // no VM is on it any more
        CHECK(two.attach(second).address == "10.0.0.2/16");
        CHECK(two.net->unavailable_reason().empty());
        CHECK_FALSE(contains(command("nft list ruleset"), one.store.installation()));
        CHECK_FALSE(contains(command("iptables -S"), one.store.installation()));
        CHECK(contains(command("iptables -S"), two.store.installation()));
        CHECK_THROWS_AS(one.attach(first), Error);
        CHECK(one.journal().size() == 1);  // that of iptables
    });
}

TEST_CASE("what Docker forbids when it starts later is let through again") {
    Namespace().run([] {
        Host host;
        host.net->pass_others();  // not prepared: nothing to do
        host.net->prepare();
        CHECK_FALSE(contains(command("iptables -S"), host.mark()));
        command("iptables -N DOCKER-USER");
        command("iptables -A DOCKER-USER -j RETURN");
        command("iptables -I FORWARD -j DOCKER-USER");
        command("iptables -P FORWARD DROP");
        host.net->pass_others();
        const auto rules = command("iptables -S DOCKER-USER");
        CHECK(contains(rules, host.mark()));
        CHECK(rules.find(host.mark()) < rules.find("-A DOCKER-USER -j RETURN"));
        // Docker's bridges are Docker's: its containers stay as closed to guests as they are to others.
        CHECK(rules.find("-i br0 -o docker0 -m comment") < rules.find("-j ACCEPT"));
        CHECK(rules.find("-i br0 -o br-+ -m comment") < rules.find("-j ACCEPT"));
        host.net->pass_others();
        CHECK(command("iptables -S DOCKER-USER") == rules);
        CHECK(host.journal().size() == 1);
        host.net->remove_all();
        CHECK_FALSE(contains(command("iptables -S"), host.mark()));
    });
}

TEST_CASE("a default route by a tunnel is no overlap") {
    Namespace().run([] {
        command("ip link add tunnel0 type veth peer name peer0");
        command("ip link set tunnel0 up");
        command("ip route add 0.0.0.0/1 dev tunnel0");
        Host host;
        host.net->prepare();
        CHECK(host.net->unavailable_reason().empty());
    });
}

TEST_CASE("a VM gets a TAP of its own user on the bridge, and an address that stays") {
    Namespace().run([] {
        NetOptions options;
        options.dns = {"192.0.2.53"};
        Host host(options);
        host.net->prepare();
        const auto attachment = host.attach(first, 4242);
        CHECK(attachment.device == "mn" + first);
        CHECK(attachment.address == "10.0.0.2/16");
        CHECK(attachment.gateway == "10.0.0.1");
        CHECK(attachment.dns == std::vector<std::string>{"192.0.2.53"});
        CHECK(attachment.mtu == 1500);
        CHECK(attachment.vsock_cid == 3);
        const auto tap = command("ip -d link show mn" + first);
        for (const char* part :
             {"tun type tap", "vnet_hdr on", "persist on", "user 4242", "master br0", ",UP", "isolated on"}) {
            INFO(part);
            CHECK(contains(tap, part));
        }
        CHECK_FALSE(contains(command("ip addr show mn" + first), "inet6"));
        CHECK(contains(elements(host), fmt::format("\"mn{}\" . {} . 10.0.0.2", first, attachment.mac)));
        const auto rows = host.journal();
        REQUIRE(rows.size() == 1);
        CHECK(rows[0].row.kind == "tap");
        CHECK(rows[0].row.key == "mn" + first);
        CHECK(rows[0].row.instance == first);
        CHECK(rows[0].row.held);
        CHECK(rows[0].runtime.empty());

        const auto other = host.attach(second);
        CHECK(other.address == "10.0.0.3/16");
        CHECK(other.vsock_cid == 4);
        CHECK(other.mac != attachment.mac);

        host.detach(first);
        CHECK_FALSE(contains(links(), first));
        CHECK_FALSE(contains(elements(host), first));
        CHECK(contains(elements(host), second));
        CHECK(host.journal().size() == 1);
        host.detach(first);

        const auto again = host.attach(first);
        CHECK(again.address == attachment.address);
        CHECK(again.mac == attachment.mac);
        host.detach(first);
        host.detach(second);
        CHECK(host.journal().empty());
    });
}

TEST_CASE("a TAP that was left over is replaced") {
    Namespace().run([] {
        Host host;
        host.net->prepare();
        host.attach(first, 1111);
        const auto index = Links().find("mn" + first)->index;
        host.attach(first, 2222);
        CHECK(Links().find("mn" + first)->index != index);
        CHECK(contains(command("ip -d link show mn" + first), "user 2222"));
        CHECK(host.journal().size() == 1);
    });
}

TEST_CASE("a device of that name that is not ours stays, and is said") {
    Namespace().run([] {
        Host host;
        host.net->prepare();
        command("ip link add mn" + first + " type veth peer name peer0");
        CHECK_THROWS_AS(host.attach(first), Error);
        CHECK(contains(links(), "mn" + first));
        CHECK(host.journal().empty());
    });
}

TEST_CASE("an attachment that fails half way leaves nothing") {
    for (const char* point : {"net.tap.before", "net.tap.made", "net.tap.rules", "net.tap.after"}) {
        Namespace().run([&] {
            INFO(point);
            Host host;
            host.net->prepare();
            {
                const FailsAt fails(point, "fail");
                CHECK_THROWS_AS(host.attach(first), Error);
            }
            CHECK_FALSE(contains(links(), "mn" + first));
            CHECK_FALSE(contains(elements(host), first));
            CHECK(host.journal().empty());
            CHECK(host.attach(first).address == "10.0.0.2/16");
        });
    }
}

TEST_CASE("a row is undone whatever is left of what it names") {
    Namespace().run([] {
        Host host;
        host.net->prepare();
        host.attach(first);
        const auto row = host.journal().at(0).row;
        host.net->release(row);
        CHECK_FALSE(contains(links(), "mn" + first));
        CHECK_FALSE(contains(elements(host), first));
        host.net->release(row);
        host.attach(second);
        host.store.transact([](Transaction& transaction) { transaction.delete_instance(second); });
        host.net->release(host.journal().at(0).row);
        CHECK_FALSE(contains(links(), "mn" + second));
    });
}

TEST_CASE("the next daemon keeps what the TAPs of living VMs may say") {
    Namespace().run([] {
        Host host;
        host.net->prepare();
        host.attach(first);
        const auto rules = command("nft list ruleset");
        Net next({}, host.store);
        next.prepare();
        CHECK(command("nft list ruleset") == rules);
        CHECK(contains(elements(host), first));
    });
}

TEST_CASE("rules and bridge that others removed come back with the next VM") {
    Namespace().run([] {
        Host host;
        host.net->prepare();
        host.attach(first);
        SECTION("rules") { command("nft flush ruleset"); }
        SECTION("bridge") { command("ip link del br0"); }
        host.attach(second);
        CHECK(contains(elements(host), first));
        CHECK(contains(elements(host), second));
        CHECK(contains(command("ip -d link show mn" + first), "master br0"));
        CHECK(contains(command("ip -d link show mn" + first), "isolated on"));
        CHECK(contains(command("ip addr show br0"), "10.0.0.1/16"));
    });
}

TEST_CASE("a bridge that was cut off before it had its mark is ours") {
    Namespace().run([] {
        Host host;
        {
            const FailsAt fails("net.bridge", "fail");
            host.net->prepare();
        }
        CHECK_FALSE(host.net->unavailable_reason().empty());
        CHECK(host.attach(first).address == "10.0.0.2/16");
        CHECK(host.net->unavailable_reason().empty());
    });
}

TEST_CASE("where somebody else manages the network only TAPs are made") {
    Namespace().run([] {
        NetOptions options;
        options.manage = false;
        Host host(options);
        host.net->prepare();
        CHECK(contains(host.net->unavailable_reason(), "network.manage"));
        CHECK(contains(host.net->unavailable_reason(), "br0"));
        command("ip link add br0 type bridge");
        command("ip addr add 10.0.0.1/16 dev br0");
        host.attach(first);
        CHECK(contains(command("ip -d link show mn" + first), "master br0"));
        CHECK(command("nft list ruleset").empty());
        host.detach(first);
        CHECK_FALSE(contains(links(), "mn" + first));
    });
}

TEST_CASE("without the rights VMs are told to use user networking, once") {
    Namespace().run([] {
        __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
        __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
        REQUIRE(::syscall(SYS_capset, &header, data) == 0);  // of this thread
        Host host;
        host.net->prepare();
        CHECK(host.net->unavailable_reason().empty());
        const auto attachment = host.attach(first);
        CHECK(attachment.device.empty());
        CHECK(attachment.mac.empty());
        CHECK(attachment.address.empty());
        CHECK(attachment.vsock_cid == 3);
        CHECK(host.journal().empty());
        host.detach(first);
        host.net->prepare();
        const auto log = *host.log.lock();
        CHECK(contains(log, "CAP_NET_ADMIN"));
        CHECK(std::count(log.begin(), log.end(), '\n') == 1);
    });
}

TEST_CASE("a network that is full says so") {
    Namespace().run([] {
        NetOptions options;
        options.subnet = parse_subnet("10.0.0.1/30");
        Host host(options);
        host.net->prepare();
        CHECK(host.attach(first).address == "10.0.0.2/30");
        try {
            host.attach(second);
            FAIL("attached");
        } catch (const Error& error) {
            CHECK(error.code() == Code::no_space);
            CHECK(contains(error.what(), "network.subnet"));
        }
        CHECK(host.journal().size() == 1);
    });
}

TEST_CASE("many VMs are attached side by side") {
    Namespace().run([] {
        constexpr std::size_t count = 50;
        Host host;
        host.net->prepare();
        std::vector<std::string> ids;
        for (std::size_t i = 0; i < count; ++i) ids.push_back(make_id());
        Sync<std::set<std::string>> addresses;
        Sync<std::vector<std::string>> failures;
        const auto each = [&](auto what) {
            std::vector<std::thread> threads;
            for (const auto& id : ids)
                threads.emplace_back([&, id] {
                    try {
                        what(id);
                    } catch (const std::exception& error) {
                        failures.lock()->emplace_back(error.what());
                    }
                });
            for (auto& thread : threads) thread.join();
        };
        each([&](const std::string& id) { addresses.lock()->insert(host.attach(id).address); });
        CHECK(failures.lock()->empty());
        CHECK(addresses.lock()->size() == count);
        const auto all = Links().all();
        CHECK(std::count_if(all.begin(), all.end(), [&](const Link& link) {
                  return link.kind == "tun" && link.alias == host.mark() && link.master != 0;
              }) == count);
        each([&](const std::string& id) { host.detach(id); });
        CHECK(failures.lock()->empty());
        CHECK(Links().all().size() == 2);  // loopback and bridge
        CHECK_FALSE(contains(elements(host), "elements"));
        CHECK(host.journal().empty());
    });
}

TEST_CASE("all that is ours can be removed, and nothing else") {
    Namespace().run([] {
        command("nft add table inet others");
        command("iptables -P FORWARD DROP");
        command("iptables -A FORWARD -s 192.0.2.0/24 -j ACCEPT");
        command("ip link add up0 type veth peer name peer0");
        const auto before = command("nft list ruleset");
        const auto links_before = command("ip -o link show up0");
        Host host;
        host.net->prepare();
        host.attach(first);
        CHECK(host.journal().size() == 2);
        CHECK(contains(command("iptables -S FORWARD"), host.mark()));
        host.net->remove_all();
        CHECK(host.journal().empty());
        CHECK(Links().all().size() == 3);
        CHECK(command("ip -o link show up0") == links_before);
        CHECK(command("nft list ruleset") == before);
        host.net->remove_all();
        CHECK(host.attach(first).address == "10.0.0.2/16");
    });
}

TEST_CASE("how long an attachment takes", "[.measure]") {
    Namespace().run([] {
        Host host;
        host.net->prepare();
        std::vector<double> attach;
        std::vector<double> detach;
        const auto measure = [](std::vector<double>& into, auto what) {
            const auto start = std::chrono::steady_clock::now();
            what();
            into.push_back(
                std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
        };
        constexpr std::size_t count = 200;
        std::vector<std::string> ids;
        for (std::size_t i = 0; i < count; ++i) {
            ids.push_back(make_id());
            measure(attach, [&] { host.attach(ids.back()); });
        }
        for (const auto& id : ids) measure(detach, [&] { host.detach(id); });
        for (auto* times : {&attach, &detach}) {
            std::sort(times->begin(), times->end());
            WARN(fmt::format("{} p50 {:.2f} ms, p99 {:.2f} ms", times == &attach ? "attach" : "detach",
                             (*times)[count / 2], (*times)[count * 99 / 100]));
        }
    });
}

}  // namespace
}  // namespace minions::core
