#include "plugins/docker/leftovers.hpp"

#include "tests/unit/plugins/docker/fake_engine.hpp"
#include "tests/unit/plugins/support.hpp"

#include <catch2/catch.hpp>

#include <map>

using namespace minions;
using namespace minions::docker;
using namespace minions::docker::test;
using namespace minions::test;

namespace {

struct FakeImage {
    std::string parent;
    std::string tag;
    std::string installation;
};

/// Images of an engine that refuses, as the real one does, to remove those with children or in use.
struct FakeImages {
    std::map<std::string, FakeImage> images;
    std::string in_use;

    bool has_children(const std::string& name) const {
        return std::any_of(images.begin(), images.end(),
                           [&](const auto& image) { return image.second.parent == name; });
    }
    std::string document(const std::string& name, const char* parent_key) const {
        const FakeImage& image = images.at(name);
        const std::string tags = image.tag.empty() ? "" : "\"" + image.tag + "\"";
        return R"({"Id":")" + name + R"(",")" + parent_key + R"(":")" + image.parent + R"(","RepoTags":[)" +
               tags + R"(],"Labels":{"minions.installation":")" + image.installation + R"("}})";
    }
    void answer(const Asked& asked) {
        const std::string path = asked.target.substr(0, asked.target.find('?'));
        if (path.ends_with("/images/json")) {
            std::string all;
            for (const auto& [name, image] : images) {
                all += (all.empty() ? "" : ",") + document(name, "ParentId");
            }
            return asked.answer(200, "[" + all + "]");
        }
        std::string name = path.substr(path.find("/images/") + 8);
        name = name.substr(0, name.find('/'));
        if (!images.contains(name)) return asked.answer(404, R"({"message":"No such image"})");
        if (asked.method == "GET") return asked.answer(200, document(name, "Parent"));
        if (name == in_use)
            return asked.answer(409, R"({"message":"image is being used by running container"})");
        if (has_children(name)) return asked.answer(409, R"({"message":"image has dependent child images"})");
        images.erase(name);
        asked.answer(200, "[]");
    }
    std::set<std::string> names() const {
        std::set<std::string> all;
        for (const auto& [name, image] : images) all.insert(name);
        return all;
    }
};

const Patience patient = Patience::for_cleanup(20s);

}  // namespace

TEST_CASE("what builds left is told by its label, its namelessness and its childlessness") {
    FakeImages images{{{"base", {"", "base:1", ""}},
                       {"kept", {"base", "", "here"}},
                       {"image", {"kept", "image:1", "here"}},
                       {"left", {"base", "", "here"}},
                       {"leaf", {"left", "", "here"}},
                       {"other", {"base", "", "there"}},
                       {"busy", {"base", "", "here"}}},
                      "busy"};
    std::vector<std::string> removed;
    FakeEngine fake([&](const Asked& asked) {
        if (has(asked.target, "/images/")) return images.answer(asked);
        if (has(asked.target, "/containers/json")) {
            const std::string ours = R"("Labels":{"minions.installation":"here")";
            return asked.answer(200, R"([{"Id":"step",)" + ours + R"(}},{"Id":"instance",)" + ours +
                                         R"(,"minions.instance":"x"}},{"Id":"derived",)" + ours + "}}]");
        }
        if (asked.method == "DELETE") removed.push_back(asked.target);
        // Only the step has the mark; "derived" is a stranger's container of an image of ours.
        const std::string hosts = has(asked.target, "/step/") ? "\"" + step_mark("here") + "\"" : "";
        asked.answer(200, R"({"HostConfig":{"ExtraHosts":[)" + hosts + "]}}");
    });
    Engine engine(config_for(fake));
    Leftovers leftovers;
    {
        const auto building = leftovers.building(patient);
        bool removed_under_build = true;
        // From another thread, as the watcher asks.
        std::thread([&] { removed_under_build = leftovers.remove(engine, patient, "here"); }).join();
        CHECK_FALSE(removed_under_build);
        CHECK(images.names().size() == 7);
    }
    CHECK(leftovers.remove(engine, patient, "here"));
    CHECK(images.names() == std::set<std::string>{"base", "kept", "image", "other", "busy"});
    CHECK(removed == std::vector<std::string>{"/v1.41/containers/step?force=1&v=1"});
}

TEST_CASE("a layer that another build uses is kept for later, and one of a kept image goes with that") {
    FakeImages images{
        {{"base", {"", "base:1", ""}}, {"layer", {"base", "", ""}}, {"child", {"layer", "", ""}}}, ""};
    FakeEngine fake([&](const Asked& asked) {
        if (has(asked.target, "/images/")) return images.answer(asked);
        asked.answer(200, "[]");
    });
    Engine engine(config_for(fake));
    Leftovers leftovers;
    leftovers.add({{layer_kind, "layer"}});
    SECTION("in use") {
        images.in_use = "child";
        CHECK(code_thrown([&] { leftovers.remove(engine, patient, "here"); }) == "conflict");
        CHECK(images.names().size() == 3);
        images.in_use.clear();
        CHECK(leftovers.remove(engine, patient, "here"));
        CHECK(images.names() == std::set<std::string>{"base"});
    }
    SECTION("kept") {
        images.images["image"] = {"child", "image:1", ""};
        CHECK(leftovers.remove(engine, patient, "here"));
        CHECK(images.names().size() == 4);
    }
}

TEST_CASE("a layer goes although the container that uses it was never told of") {
    FakeImages images{{{"base", {"", "base:1", ""}}, {"layer", {"base", "", "here"}}}, "layer"};
    FakeEngine fake([&](const Asked& asked) {
        if (has(asked.target, "/images/")) return images.answer(asked);
        if (has(asked.target, "/containers/json"))
            return asked.answer(200, images.in_use.empty() ? "[]" : R"([{"Id":"step",
                "Labels":{"minions.installation":"here"}}])");
        if (asked.method == "DELETE") images.in_use.clear();
        asked.answer(200, R"({"HostConfig":{"ExtraHosts":[")" + step_mark("here") + R"("]}})");
    });
    Engine engine(config_for(fake));
    Leftovers leftovers;
    leftovers.add({{layer_kind, "layer"}});
    CHECK(leftovers.remove(engine, patient, "here"));
    CHECK(images.names() == std::set<std::string>{"base"});
}

TEST_CASE("a container whose id a build printed is removed only if it is one of ours builds' steps") {
    std::string hosts = "null";
    std::atomic<bool> deleted{false};
    FakeEngine fake([&](const Asked& asked) {
        if (asked.method == "DELETE") deleted = true;
        // What was once taken for the mark of a step: a container without a log.
        asked.answer(200, R"({"HostConfig":{"LogConfig":{"Type":"none"},"Binds":null,"ExtraHosts":)" + hosts +
                              R"(},"Config":{"Labels":null}})");
    });
    Engine engine(config_for(fake));
    remove_leftover(engine, patient, "here", {step_kind, "0123456789ab"});
    CHECK_FALSE(deleted);
    hosts = "[\"" + step_mark("here") + "\"]";
    remove_leftover(engine, patient, "here", {step_kind, "0123456789ab"});
    CHECK(deleted);
}
