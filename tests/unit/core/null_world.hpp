#pragma once

#include "core/deployments/deployments.hpp"
#include "tests/unit/core/deployments/support.hpp"

#include <minions/examples/null_runtime.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace minions::core::test {

using examples::NullRuntime;

class TestHost final : public Host {
  public:
    void log(LogLevel, std::string_view) noexcept override {}
    void report(const InstanceEvent& event) noexcept override {
        if (instances != nullptr) instances->report("null", event);
    }
    void health_changed() noexcept override {}
    const std::string& installation() const override { return name_; }
    const Directories& directories() const override { return directories_; }
    Instances* instances = nullptr;

  private:
    std::string name_ = "testtesttest";
    Directories directories_;
};

class OneRuntime final : public Runtimes {
  public:
    explicit OneRuntime(NullRuntime& object) {
        handle.name = "null";
        handle.features = {"ports", "disk"};
        bind_facets(handle, object);
    }
    std::vector<const RuntimeHandle*> all() const override { return {&handle}; }
    const RuntimeHandle* find(std::string_view name) const override {
        return name == "null" ? &handle : nullptr;
    }
    Health health(const RuntimeHandle&) const override {
        return Health{healthy, healthy ? "" : "no engine at /nonexistent/docker.sock", "", {}};
    }
    const RuntimeHandle& default_runtime() const override { return handle; }
    const RuntimeHandle& require(std::string_view) const override { return handle; }

    RuntimeHandle handle;
    std::atomic<bool> healthy{true};
};

/// A daemon's heart with deployments and the null runtime, in directories of its own.
struct World {
    explicit World(NullRuntime::Config config = {}, std::size_t parallel = 4)
        : null(host, std::move(config)) {
        options.state_dir = directory / "state";
        options.work_dir = directory.path();
        options.allowed_schemes = {"https", "file"};
        options.start_window = std::chrono::milliseconds(50);
        options.max_parallel = parallel;
        deployments = std::make_unique<Deployments>(store, operations, instances, runtimes, options);
        host.instances = &instances;
        instances.start();
    }
    ~World() {
        operations.drain(deadline_in(std::chrono::seconds(20)));
        host.instances = nullptr;
    }

    DeployRequest request(std::vector<std::string> command = {"serve"}) {
        if (url.empty()) url = make_repository(directory.path(), "agent", {{"main.py", "print(1)\n"}});
        DeployRequest wanted;
        wanted.repo_url = url;
        wanted.agent_name = "agent";
        wanted.startup_cmd = std::move(command);
        wanted.environment = {{"API_KEY", "canary"}};
        return wanted;
    }
    Value deploy(DeployRequest wanted) { return deployments->deploy(std::move(wanted), "local")->wait(); }

    /// Nothing but logs and the database is left of what was tried.
    void nothing_left() {
        CHECK(null.instance_count() == 0);
        CHECK(null.image_count() == 0);
        CHECK(store.transact([](Transaction& t) { return t.journal(); }).empty());
        for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
            CAPTURE(entry.path());
            CHECK_FALSE(entry.path().filename().string().starts_with("minions-deployment-"));
        }
        CHECK(deployments->list("local", true) == Value::array());
    }
    std::string log_of(const std::string& id) {
        std::string text;
        deployments->read_log("local", id, true, -1, [&](std::string_view piece) { text += piece; });
        return text;
    }

    Directory directory;
    DeploymentOptions options;
    TestHost host;
    NullRuntime null;
    OneRuntime runtimes{null};
    Store store{directory / "state"};
    Events events{store};
    Operations operations{store};
    Instances instances{store, events, operations, runtimes};
    std::unique_ptr<Deployments> deployments;
    std::string url;
};

}  // namespace minions::core::test
