#include "plugins/docker/copy.hpp"

#include "plugins/docker/runtime.hpp"
#include "tests/unit/plugins/docker/fake_engine.hpp"
#include "tests/unit/plugins/support.hpp"

#include <catch2/catch.hpp>

#include <atomic>

using namespace minions;
using namespace minions::docker;
using namespace minions::docker::test;
using namespace minions::test;

namespace {

/// An engine with one container that can be paused, and at most one image.
struct Script {
    std::string files = std::string(2048, '\0');
    bool cut_export = false;  ///< the connection ends before the answer does
    std::string import_answer = R"({"status":"sha256:feed"})";
    int tag_status = 201;
    std::atomic<bool> paused{false};
    std::atomic<bool> image{false};

    void answer(const Asked& asked) {
        if (has(asked.target, "/unpause")) return (void)(paused = false), asked.answer(204, "");
        if (has(asked.target, "/pause")) return (void)(paused = true), asked.answer(204, "");
        if (has(asked.target, "/containers/inst1")) return asked.answer(404, "{}");
        if (has(asked.target, "/export")) {
            asked.begin_stream();
            asked.chunk(files);
            return cut_export ? void() : asked.end_stream();
        }
        if (has(asked.target, "/images/create")) {
            image = has(import_answer, "sha256");
            return asked.answer(200, import_answer);
        }
        if (has(asked.target, "/tag")) return asked.answer(tag_status, R"({"message":"no"})");
        if (has(asked.target, "/images/") && asked.method == "DELETE") {
            image = false;
            return asked.answer(200, "[]");
        }
        const std::string labels = R"("Config":{"Labels":{"minions.installation":"here"}})";
        if (has(asked.target, "/images/"))
            return image ? asked.answer(200, "{" + labels + "}") : asked.answer(404, "{}");
        asked.answer(200, R"({"State":{"Status":")" + std::string(paused ? "paused" : "running") + "\"}," +
                              labels + "}");
    }
};

/// Returns the code of the failure.
std::string copy_of(Script& script, TestContext& ctx) {
    FakeEngine fake([&](const Asked& asked) { script.answer(asked); });
    Engine engine(config_for(fake));
    return code_thrown([&] { Copy(engine, ctx, "here", "inst1").run(id, true); });
}

}  // namespace

TEST_CASE("a copy that ends well leaves an image and its row, and no pause") {
    Script script;
    TestContext ctx;
    CHECK(copy_of(script, ctx).empty());
    CHECK(script.image);
    CHECK_FALSE(script.paused);
    CHECK(ctx.rows.rows().size() == 1);
}

TEST_CASE("a copy that the engine fails anywhere leaves neither image nor pause") {
    Script script;
    TestContext ctx;
    SECTION("its connection breaks in an export") {
        script.cut_export = true;
        CHECK(copy_of(script, ctx) == "unavailable");
    }
    SECTION("an export ends early, as if it were whole") {
        script.files = std::string(1536, 'x');
        CHECK(copy_of(script, ctx) == "failed");
    }
    SECTION("an import fails") {
        script.import_answer = R"({"error":"write: no space left on device"})";
        CHECK(copy_of(script, ctx) == "no_space");
    }
    SECTION("an import ends without a result") {
        script.import_answer = "";
        CHECK(copy_of(script, ctx) == "unavailable");
    }
    SECTION("the image gets no name") {
        script.tag_status = 500;
        CHECK(copy_of(script, ctx) == "failed");
    }
    CHECK_FALSE(script.image);
    CHECK_FALSE(script.paused);
}
