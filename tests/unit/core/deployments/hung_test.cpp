#include "tests/unit/core/null_world.hpp"

#include <catch2/catch.hpp>

using namespace minions;
using namespace minions::core;
using namespace minions::core::test;

namespace {

/// A plugin whose thread does not come back: core has given the call up, and the thread still has the
/// descriptors.
class Hung final : public BuildFacet, public LogsFacet {
  public:
    BuildResult build(Context&, const BuildSpec&, Fd context, Fd log) override {
        write_all(log.get(), "step 1\n", 7);
        kept_.push_back(std::move(context));
        kept_.push_back(std::move(log));
        throw Error(Code::deadline, "runtime 'null' does not return from 'build'");
    }
    void remove_image(Context&, const std::string&) override {}
    void logs(Context&, const Instance&, const LogsSpec&, Fd out) override {
        write_all(out.get(), "last words\n", 11);
        kept_.push_back(std::move(out));
        throw Error(Code::deadline, "runtime 'null' does not return from 'logs'");
    }

  private:
    std::vector<Fd> kept_;
};

}  // namespace

TEST_CASE("a build that does not return is undone all the same") {
    Hung hung;
    World world;
    world.runtimes.handle.build = &hung;
    // More than the socket to the builder holds, so that the sender is stuck too.
    world.url = make_repository(world.directory.path(), "agent",
                                {{"main.py", "print(1)\n"}, {"large", std::string(8 << 20, 'x')}});
    const auto operation = world.deployments->deploy(world.request(), "local");
    const Error error = error_of([&] { operation->wait(deadline_in(std::chrono::seconds(30))); });
    CHECK(error.message().find("building the image took longer") != std::string::npos);
    CHECK(world.log_of(operation->row().subject).find("step 1") != std::string::npos);
    world.nothing_left();
}

TEST_CASE("logs that do not return keep nobody from telling how the container ended") {
    Hung hung;
    World world;
    world.runtimes.handle.logs = &hung;
    const auto operation = world.deployments->deploy(world.request({"exit", "3"}), "local");
    const Error error = error_of([&] { operation->wait(deadline_in(std::chrono::seconds(30))); });
    CHECK(error.message().find("ended with exit code 3") != std::string::npos);
    world.nothing_left();
}
