#include <minions/examples/null_runtime.hpp>
#include <minions/plugin.hpp>

#include <catch2/catch.hpp>

using namespace minions;

namespace {

/// A runtime with one facet, no configuration and no features.
struct Small : Runtime, LogsFacet {
    explicit Small(Host&) {}
    Health health(Context&) override { throw std::runtime_error("boom"); }
    RuntimeState create(Context&, const Instance&) override { return {}; }
    InstanceFacts start(Context&, const Instance&) override { return {}; }
    InstanceFacts stop(Context&, const Instance&, milliseconds) override { return {}; }
    void kill(Context&, const Instance&) override {}
    void destroy(Context&, const Instance&) override {}
    InstanceFacts inspect(Context&, const Instance&) override { return {}; }
    void release(Context&, const JournalRow&) override {}
    std::optional<InstanceFacts> recover(Context&, const Instance&) override { return {}; }
    void recovered(Context&) override {}
    void logs(Context&, const Instance&, const LogsSpec&, Fd) override {}
};

std::vector<std::string> words(const char* const* list) {
    std::vector<std::string> all;
    for (; *list != nullptr; ++list) all.emplace_back(*list);
    return all;
}

/// A host that is about to end.
minions_host refusing_host() {
    return {sizeof(minions_host), MINIONS_ABI_MAJOR, MINIONS_ABI_MINOR, nullptr,
            [](void*, uint64_t, const char*, size_t, const int*, size_t, minions_reply_fn reply, void* sink) {
                constexpr std::string_view text = R"({"e":{"code":"unavailable","message":"over"}})";
                reply(sink, text.data(), text.size(), nullptr, 0);
            }};
}

/// Says something as soon as it exists.
struct Chatty : Small {
    explicit Chatty(Host& host) : Small(host) {
        host.log(LogLevel::info, "hello");
        host.report({.instance = "i", .boot = 1, .facts = {}});
        host.health_changed();
    }
};

/// Cannot even say how it is configured.
struct Hopeless : Small {
    struct Config {
        int value = 0;
        Config() { throw std::runtime_error("there is no default"); }
        template <class Self, class Visit>
        static void fields(Self& self, Visit&& visit) {
            visit("value", self.value);
        }
    };
    Hopeless(Host& host, const Config&) : Small(host) {}
};

/// Has keys without a default.
struct Undecided : Small {
    struct Config {
        std::optional<int> limit;
        std::optional<bool> loud;
        template <class Self, class Visit>
        static void fields(Self& self, Visit&& visit) {
            visit("limit", self.limit);
            visit("loud", self.loud);
        }
    };
    Undecided(Host& host, const Config&) : Small(host) {}
};

void take_text(void* sink, const char* data, size_t size, const int*, size_t) {
    static_cast<std::string*>(sink)->assign(data, size);
}

}  // namespace

TEST_CASE("the descriptor is what the class is") {
    const auto* small = detail::describe<Small>({"small", "2.1", "few", Kind::vm});
    CHECK(small->magic == MINIONS_ABI_MAGIC);
    CHECK(small->size == sizeof(minions_plugin));
    CHECK(std::string(small->name) == "small");
    CHECK(small->kind == MINIONS_KIND_VM);
    CHECK(words(small->facets) == std::vector<std::string>{"logs"});
    CHECK(words(small->features).empty());
    CHECK(small->config_key_count == 0);

    using examples::NullRuntime;
    const auto* null = detail::describe<NullRuntime>({"null", "1", "many", Kind::container});
    CHECK(words(null->facets) == std::vector<std::string>{"exec", "logs", "files", "forward", "pause",
                                                          "resize", "stats", "snapshot", "copy", "build"});
    CHECK(words(null->features) == std::vector<std::string>{"ports", "disk"});
    REQUIRE(null->config_key_count == 6);
    const auto& delay = null->config_keys[4];
    CHECK(std::string(delay.name) == "delay_ms");
    CHECK(std::string(delay.type) == "integer");
    CHECK(std::string(delay.default_value) == "0");
    CHECK(delay.max == 600000);
    CHECK(std::string(null->config_keys[0].default_value) == "true");
    CHECK(std::string(null->config_keys[5].type) == "list");
}

TEST_CASE("exceptions stay inside the plugin, and what the class lacks is said to be unsupported") {
    const auto* small = detail::describe<Small>({"small", "2.1", "few", Kind::vm});
    minions_host host = refusing_host();
    void* self = nullptr;
    std::string reply;
    const std::string open = R"({"config":{},"installation":"i","directories":{}})";
    small->open(&host, open.data(), open.size(), &self, take_text, &reply);
    REQUIRE(reply == R"({"r":{}})");
    const auto call = [&](const std::string& text) {
        small->call(self, 1, text.data(), text.size(), nullptr, 0, take_text, &reply);
        return parse_json(reply);
    };
    CHECK(call(R"({"m":"health"})")["e"]["message"] == Value("boom"));
    const std::string instance = R"("instance":{"id":"i","name":"n"})";
    CHECK(call(R"({"m":"stats","p":{)" + instance + "}}")["e"]["code"] == Value("unsupported_by_runtime"));
    CHECK(call(R"({"m":"logs","p":{)" + instance + R"(,"spec":{}}})")["e"]["message"] ==
          Value("the call passed no descriptor 0"));
}

TEST_CASE("a key without a default has none in the descriptor, and may be absent from open()") {
    const auto* plugin = detail::describe<Undecided>({"undecided", "1", "few", Kind::vm});
    REQUIRE(plugin->config_key_count == 2);
    CHECK(plugin->config_key_size == sizeof(minions_config_key));
    CHECK(std::string(plugin->config_keys[0].type) == "integer");
    CHECK(std::string(plugin->config_keys[0].default_value).empty());
    const auto host = refusing_host();
    void* self = nullptr;
    std::string reply;
    plugin->open(&host, R"({"config":{}})", 13, &self, take_text, &reply);
    CHECK(reply == R"({"r":{}})");
}

TEST_CASE("a host that is away is no reason for a plugin to end") {
    const auto* chatty = detail::describe<Chatty>({"chatty", "1", "few", Kind::vm});
    const auto host = refusing_host();
    void* self = nullptr;
    std::string reply;
    chatty->open(&host, "{}", 2, &self, take_text, &reply);
    CHECK(reply == R"({"r":{}})");
}

TEST_CASE("a host of another version is refused, and a larger one is welcome") {
    const auto* small = detail::describe<Small>({"small", "2.1", "few", Kind::vm});
    const auto opened = [&](std::uint32_t size, std::uint16_t major) {
        auto host = refusing_host();
        host.size = size;
        host.abi_major = major;
        void* self = nullptr;
        std::string reply;
        small->open(&host, "{}", 2, &self, take_text, &reply);
        return reply == R"({"r":{}})";
    };
    CHECK(opened(sizeof(minions_host) + 64, MINIONS_ABI_MAJOR));
    CHECK_FALSE(opened(8, MINIONS_ABI_MAJOR));
    CHECK_FALSE(opened(sizeof(minions_host), MINIONS_ABI_MAJOR + 1));
}

TEST_CASE("nothing is thrown across the entry") {
    CHECK(detail::describe_or_null<Hopeless>({"hopeless", "1", "none", Kind::vm}) == nullptr);
}
