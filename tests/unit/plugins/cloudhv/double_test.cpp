#include "plugins/cloudhv/cloud_hypervisor.hpp"
#include "plugins/vmkit/disks.hpp"
#include "plugins/vmkit/qcow2.hpp"
#include "tests/unit/plugins/vmkit/vm_world.hpp"

#include <minions/base/files.hpp>
#include <minions/base/spawn.hpp>
#include <minions/error.hpp>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <future>

using namespace minions;
using namespace minions::cloudhv;
using namespace minions::test;
using minions::vmkit::AgentClient;
using minions::vmkit::AgentLoop;
using minions::vmkit::Disk;
using minions::vmkit::Machine;

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t mib = std::uint64_t{1} << 20U;

void make_file(const std::string& path, std::uint64_t size) {
    write_file_atomic(path, "", 0600);
    fs::resize_file(path, size);
}

/// The double as a program of its own: these settings are in its environment, whoever starts it.
std::string write_double(const Scratch& scratch, const std::vector<std::string>& settings) {
    std::string text = std::string("#!/bin/sh\nexec env DOUBLE_AGENT='") + MINIONS_AGENT + "'";
    for (const std::string& each : settings) text += " '" + each + "'";
    text += std::string(" '") + MINIONS_DOUBLE + "' \"$@\"\n";
    std::string path = scratch.path + "/cloud-hypervisor";
    write_file_atomic(path, text, 0700);
    return path;
}

/// A machine that can be booted, and what is around it.
class Bench {
  public:
    explicit Bench(const std::vector<std::string>& settings = {}, int api_timeout_seconds = 30)
        : vmm(configured(write_double(scratch, settings), api_timeout_seconds)) {
        make_file(scratch.path + "/kernel", 4096);
        make_file(scratch.path + "/disk.raw", 8 * mib);
        machine.id = "abcdefghijkl";
        machine.name = "guest";
        machine.memory_mb = 256;
        machine.most_cpus = 4;
        machine.most_memory_mb = 1024;
        machine.disk = {scratch.path + "/disk.raw", Disk::Format::raw, false};
        machine.kernel = scratch.path + "/kernel";
        machine.command_line = "root=/dev/vda console=ttyS0 panic=-1";
        machine.network.vsock_cid = 5;
        new_boot("b1");
    }

    /// Another life: its own directory, nothing running.
    void new_boot(const std::string& name) {
        agent.reset();
        process = Process();
        machine.run_directory = scratch.path + "/" + name;
        fs::create_directory(machine.run_directory);
    }
    void start() {
        const ProcessSpec spec = vmm.process(machine);
        auto pass = vmm.passed(machine);
        SpawnOptions options;
        options.argv = spec.argv;
        for (std::size_t i = 0; i < pass.size(); ++i)
            options.fds.emplace_back(static_cast<int>(i) + 3, std::move(pass[i]));
        const auto output = [&](const char* name) {
            return Stdio(
                Fd(::open((scratch.path + name).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)));
        };
        options.out = output("/vmm.out");
        options.err = output("/vmm.err");
        process = spawn(std::move(options));
        agent = std::make_unique<AgentClient>(loop, vmm.agent_address(machine));
    }
    void boot() {
        start();
        vmm.boot(ctx, machine);
        agent->wait_ready(ctx);
    }
    std::string output_of(const ExecSpec& spec) {
        auto out = make_pipe();
        ExecStreams streams;
        streams.output = std::move(out.second);
        Collected collected(std::move(out.first));
        agent->exec(ctx, spec, std::move(streams));
        return collected.text();
    }
    std::string console() const { return read_file(scratch.path + "/vmm.out", mib); }
    /// What Error says of it; "" if there is none.
    template <class Action>
    static std::string refusal(Action&& action) {
        try {
            action();
        } catch (const Error& error) {
            return std::string(to_word(error.code())) + ": " + error.message();
        }
        return "";
    }

  private:
    static Config configured(const std::string& binary, int api_timeout_seconds) {
        Config config;
        config.binary = binary;
        config.vm.kvm = vmkit::UseKvm::yes;
        config.api_timeout_seconds = api_timeout_seconds;
        return config;
    }

  public:
    Scratch scratch;
    CloudHypervisor vmm;
    Machine machine;
    TestContext ctx;
    AgentLoop loop;
    Process process;
    std::unique_ptr<AgentClient> agent;
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

Health health_of(const Config& config) {
    TestContext ctx;
    return CloudHypervisor(config).health(ctx);
}

}  // namespace

TEST_CASE("a guest boots, runs commands, pauses, goes on and powers off") {
    Bench bench;
    bench.boot();
    CHECK(bench.output_of(command("sh", {"-c", "echo $$ > /dev/null; echo hello"})) == "hello\n");
    CHECK_FALSE(bench.vmm.paused(bench.ctx, bench.machine));

    bench.vmm.pause(bench.ctx, bench.machine);
    CHECK(bench.vmm.paused(bench.ctx, bench.machine));
    auto answer =
        std::async(std::launch::async, [&] { return bench.agent->call(bench.ctx, agent::Method::ping); });
    CHECK(answer.wait_for(300ms) == std::future_status::timeout);
    CHECK(has(Bench::refusal([&] { bench.vmm.pause(bench.ctx, bench.machine); }), "Paused to Paused"));
    bench.vmm.resume(bench.ctx, bench.machine);
    CHECK_FALSE(bench.vmm.paused(bench.ctx, bench.machine));
    answer.get();

    bench.vmm.press_power_button(bench.ctx, bench.machine);
    CHECK(bench.process.wait(deadline_in(20s)).value().success());
    CHECK(has(bench.console(),
              "Command line: root=/dev/vda console=ttyS0 panic=-1 memhp_default_state=online"));
    CHECK(code_thrown([&] { bench.vmm.paused(bench.ctx, bench.machine); }) == "unavailable");
}

TEST_CASE("a guest that restarts comes back in the same VMM") {
    Bench bench;
    bench.boot();
    agent::Fields fields;
    fields.add_number(agent::tag::reboot, 1);
    bench.agent->call(bench.ctx, agent::Method::shutdown, std::move(fields));
    // Whether the old session is still there or the new one already: a call that gets an answer after the
    // console told of the restart is one to the new guest.
    const auto until = deadline_in(20s);
    while (!has(bench.console(), "Restarting system")) {
        REQUIRE(std::chrono::steady_clock::now() < until);
        bench.process.wait(deadline_in(20ms));
    }
    bench.agent->wait_ready(bench.ctx);
    CHECK(bench.process.kill(0));
}

TEST_CASE("what Cloud Hypervisor refuses is told in its words") {
    Bench bench;
    SECTION("a kernel that is not there") {
        fs::remove(bench.machine.kernel);
        bench.start();
        const auto said = Bench::refusal([&] { bench.vmm.boot(bench.ctx, bench.machine); });
        CHECK(has(said, "failed: Cloud Hypervisor cannot boot the VM"));
        CHECK(has(said, "Cannot open kernel file: No such file or directory"));
    }
    SECTION("a disk of another format than was stated") {
        fs::remove(bench.machine.disk.path);
        vmkit::make_qcow2(bench.machine.disk.path, 8 * mib, bench.machine.kernel);
        bench.start();
        CHECK(has(Bench::refusal([&] { bench.vmm.boot(bench.ctx, bench.machine); }), "specified Raw"));
    }
    SECTION("a file behind an overlay that is not one of ours") {
        bench.machine.disk = {bench.scratch.path + "/disk.qcow2", Disk::Format::qcow2, false};
        vmkit::make_qcow2(bench.machine.disk.path, 8 * mib, bench.scratch.path + "/disk.raw");
        bench.start();
        CHECK(has(Bench::refusal([&] { bench.vmm.boot(bench.ctx, bench.machine); }), "nesting depth"));
    }
    SECTION("a machine of no CPUs") {
        bench.machine.cpus = 0;
        bench.start();
        CHECK(has(Bench::refusal([&] { bench.vmm.boot(bench.ctx, bench.machine); }),
                  "failed: Cloud Hypervisor refuses the VM: Failed to deserialize JSON"));
    }
}

TEST_CASE("an overlay over an image's disk boots") {
    Bench bench;
    bench.machine.disk = {bench.scratch.path + "/disk.qcow2", Disk::Format::qcow2, true};
    vmkit::make_qcow2(bench.machine.disk.path, 16 * mib, bench.scratch.path + "/disk.raw");
    bench.boot();
    CHECK(bench.output_of(command("echo", {"up"})) == "up\n");
}

TEST_CASE("a VMM that ends or hangs does not keep anybody waiting") {
    SECTION("it ends when it is to boot") {
        Bench bench({"DOUBLE_DIE=/vm.boot"});
        bench.start();
        std::thread watcher([&] {
            bench.process.wait(deadline_in(20s));
            bench.ctx.cancel();  // as whoever watches it would
        });
        const std::string code = code_thrown([&] { bench.vmm.boot(bench.ctx, bench.machine); });
        CHECK((code == "unavailable" || code == "cancelled"));  // whichever news came first
        watcher.join();
        CHECK(bench.process.wait()->code == 101);
    }
    SECTION("it ends before it takes the connection") {
        Bench bench;
        static_cast<void>(bench.vmm.passed(bench.machine));  // listened on once, by nobody now
        CHECK(code_thrown([&] { bench.vmm.paused(bench.ctx, bench.machine); }) == "unavailable");
    }
    SECTION("it never answers what it should answer at once") {
        Bench bench({"DOUBLE_HANG=/vm.create"}, 1);
        bench.start();
        const auto said = Bench::refusal([&] { bench.vmm.boot(bench.ctx, bench.machine); });
        CHECK(has(said, "unavailable: the VMM did not answer 'PUT /vm.create' within 1 seconds"));
    }
    SECTION("it never answers what may take long") {
        Bench bench({"DOUBLE_HANG=/vm.boot"}, 1);
        bench.start();
        TestContext call(2s);
        CHECK(code_thrown([&] { bench.vmm.boot(call, bench.machine); }) == "deadline");
    }
    SECTION("the call is cancelled") {
        Bench bench({"DOUBLE_HANG=/vm.create"});
        bench.start();
        bench.ctx.cancel();
        CHECK(code_thrown([&] { bench.vmm.boot(bench.ctx, bench.machine); }) == "cancelled");
    }
}

TEST_CASE("a running machine grows as far as it has room") {
    Bench bench;
    bench.boot();
    const auto resize = [&](const ResizeSpec& spec) {
        return Bench::refusal([&] { bench.vmm.resize(bench.ctx, bench.machine, spec); });
    };
    CHECK(resize({4, 256 + 256, {}}).empty());
    CHECK(resize({1, 256, {}}).empty());  // what it has already, as far as we know
    CHECK(has(resize({5, {}, {}}), "invalid: field 'cpus'"));
    CHECK(has(resize({{}, 128, {}}),
              "field 'memory_mb' of a running VM cannot be changed so: it cannot get smaller"));
    CHECK(has(resize({{}, 300, {}}), "in steps of 128"));
    CHECK(has(resize({{}, 256 + (128 * 100), {}}), "field 'memory_mb'"));
    CHECK(resize({{}, {}, 1}).empty());
    CHECK(fs::file_size(bench.machine.disk.path) == vmkit::gib);
    bench.machine.disk.format = Disk::Format::qcow2;
    CHECK(has(resize({{}, {}, 2}), "field 'disk_gb'"));
}

TEST_CASE("a saved machine goes on in a new VMM, with the paths of its new boot") {
    Bench bench;
    bench.boot();
    const std::string saved = bench.scratch.path + "/saved";
    fs::create_directory(saved);
    CHECK(
        has(Bench::refusal([&] { bench.vmm.save(bench.ctx, bench.machine, saved); }), "while VM is running"));
    bench.vmm.pause(bench.ctx, bench.machine);
    bench.vmm.save(bench.ctx, bench.machine, saved);
    CHECK(bench.vmm.paused(bench.ctx, bench.machine));

    bench.new_boot("b2");
    bench.machine.saved = saved;
    bench.boot();
    CHECK_FALSE(bench.vmm.paused(bench.ctx, bench.machine));
    CHECK(bench.output_of(command("echo", {"again"})) == "again\n");

    bench.new_boot("b3");
    fs::remove(saved + "/state.json");
    bench.start();
    CHECK(has(Bench::refusal([&] { bench.vmm.boot(bench.ctx, bench.machine); }),
              "failed: Cloud Hypervisor cannot go on from the snapshot"));
    bench.new_boot("b4");
    fs::remove(saved + "/config.json");
    bench.start();
    CHECK_FALSE(Bench::refusal([&] { bench.vmm.boot(bench.ctx, bench.machine); }).empty());
}

TEST_CASE("health says what is missing, and the cure") {
    Scratch scratch;
    Config config;
    config.vm.kvm = vmkit::UseKvm::yes;
    const auto with = [&](const std::vector<std::string>& settings) {
        config.binary = write_double(scratch, settings);
        return health_of(config);
    };
    CHECK(with({}).healthy);
    CHECK(with({}).version == "v50.1.0");
    CHECK(with({"DOUBLE_VERSION=v53.0-246-gae44c2971"}).healthy);
    const Health old = with({"DOUBLE_VERSION=v50.0"});
    CHECK_FALSE(old.healthy);
    CHECK(has(old.reason, "GHSA-jmr4-g2hv-mjj6"));
    CHECK(old.version == "v50.0");
    config.vm.kvm = vmkit::UseKvm::no;
    CHECK(has(with({}).reason, "runtimes.cloudhv.kvm is no"));
    config.binary = "/bin/true";
    CHECK(has(health_of(config).reason, "'/bin/true' is not Cloud Hypervisor"));
    config.binary = "no-such-hypervisor";
    CHECK(has(health_of(config).reason, "set runtimes.cloudhv.binary"));
    config.log_level = "trace";
    CHECK(code_thrown([&] { CloudHypervisor refused(config); }) == "invalid");
}

TEST_CASE("a program's version is asked for once, and again when the program is another") {
    Scratch scratch;
    Config config;
    config.vm.kvm = vmkit::UseKvm::yes;
    config.binary = write_double(scratch, {});
    CloudHypervisor vmm(config);
    TestContext ctx;
    CHECK(vmm.health(ctx).version == "v50.1.0");
    write_double(scratch, {"DOUBLE_VERSION=v51.0"});
    CHECK(vmm.health(ctx).version == "v51.0");
}

TEST_CASE("the VMM is told how to run, and nothing of the machine is on its command line") {
    Bench bench;
    bench.machine.network.address = "10.0.0.2/16";
    const ProcessSpec spec = bench.vmm.process(bench.machine);
    CHECK(spec.role == "vmm");
    CHECK(std::vector(spec.argv.begin() + 1, spec.argv.end()) ==
          std::vector<std::string>{"--api-socket", "fd=3", "--seccomp", "true"});
    CHECK(spec.devices == std::vector<std::string>{"/dev/kvm", "/dev/net/tun"});
    CHECK(bench.vmm.agent_address(bench.machine).path == bench.machine.run_directory + "/vsock_1024");
    CHECK(bench.vmm.guest_network(bench.machine).address.empty());  // without an interface
    const auto passed = bench.vmm.passed(bench.machine);
    struct stat info {};
    REQUIRE(::stat((bench.machine.run_directory + "/api").c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
}
