#include <minions/codec.hpp>
#include <minions/types.hpp>

#include <catch2/catch.hpp>

using namespace minions;
using Catch::Matchers::Contains;

namespace {

enum class Color { red, green };

struct Inner {
    int number = 7;
    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("number", self.number, Field{.min = 1, .max = 9, .doc = "a digit"});
    }
    bool operator==(const Inner&) const = default;
};

struct Everything {
    bool flag = false;
    std::int64_t large = 0;
    std::uint8_t small = 0;
    std::uint64_t count = 0;
    double real = 0;
    std::string text;
    Color color = Color::red;
    Value any;
    std::optional<int> maybe;
    std::vector<Inner> list;
    std::map<std::string, std::string> map;
    Inner inner;
    std::string must;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("flag", self.flag);
        visit("large", self.large);
        visit("small", self.small);
        visit("count", self.count);
        visit("real", self.real, Field{.min = -10, .max = 10});
        visit("text", self.text, Field{.max_size = 5});
        visit("color", self.color);
        visit("any", self.any);
        visit("maybe", self.maybe, Field{.min = 0});
        visit("list", self.list, Field{.max_size = 2});
        visit("map", self.map, Field{.secret = true, .max_size = 2});
        visit("inner", self.inner);
        visit("must", self.must, Field{.required = true, .secret = true});
    }
    bool operator==(const Everything&) const = default;
};

std::string failure(const std::string& members) {
    try {
        decode<Everything>(parse_json("{\"must\":\"x\"" + members + "}"));
    } catch (const Error& error) {
        CHECK(error.code() == Code::invalid);
        return error.what();
    }
    return "nothing was wrong";
}

}  // namespace

template <>
struct minions::EnumWords<Color> {
    static constexpr std::string_view words[] = {"red", "green"};
};

TEST_CASE("every type survives encoding and decoding") {
    const Everything all{.flag = true,
                         .large = -(std::int64_t{1} << 60),
                         .small = 255,
                         .count = 1,
                         .real = 2.5,
                         .text = "text",
                         .color = Color::green,
                         .any = Value::array({1, "two"}),
                         .maybe = 3,
                         .list = {{1}, {2}},
                         .map = {{"k", "v"}},
                         .inner = {9},
                         .must = "x"};
    CHECK(decode<Everything>(parse_json(to_json(encode(all)))) == all);
    Everything plain;
    plain.must = "x";
    CHECK(decode<Everything>(parse_json(R"({"must":"x","maybe":null})")) == plain);
}

TEST_CASE("what does not fit is refused, naming the field and what it should be") {
    CHECK(failure(R"(,"flag":1)") == "field 'flag' must be true or false, not an integer");
    CHECK(failure(R"(,"text":"123456")") == "field 'text' must have at most 5 bytes");
    CHECK(failure(R"(,"small":256)") == "field 'small' must be between 0 and 255");
    CHECK(failure(R"(,"small":-1)") == "field 'small' must be between 0 and 255");
    CHECK(failure(R"(,"count":-1)") == "field 'count' must be at least 0");
    CHECK(failure(R"(,"large":1.5)") == "field 'large' must be an integer, not a number");
    CHECK_THAT(failure(R"(,"large":9223372036854775808)"), Contains("field 'large' must be"));
    CHECK(failure(R"(,"large":2.0)") == "nothing was wrong");
    CHECK(failure(R"(,"real":11)") == "field 'real' must be between -10 and 10");
    CHECK(failure(R"(,"color":"blue")") == "field 'color' must be one of red, green, not 'blue'");
    CHECK(failure(R"(,"maybe":-1)") == "field 'maybe' must be between 0 and 2147483647");
    CHECK(failure(R"(,"list":[{"number":1},{"number":0}])") ==
          "field 'list[1].number' must be between 1 and 9");
    CHECK(failure(R"(,"list":[{},{},{}])") == "field 'list' must have at most 2 elements");
    CHECK(failure(R"(,"map":{"a":1})") == "field 'map.a' must be a string, not an integer");
    CHECK(failure(R"(,"inner":[])") == "field 'inner' must be an object, not an array");
    CHECK_THROWS_WITH(decode<Everything>(parse_json("{}")), "field 'must' is required");
    CHECK_THROWS_WITH(decode<Everything>(parse_json("[]")), "the document must be an object, not an array");
}

TEST_CASE("an unknown field is refused with its nearest neighbour, or ignored") {
    CHECK_THROWS_WITH(decode<Everything>(parse_json(R"({"musst":"x"})")),
                      "field 'musst' is unknown; did you mean 'must'?");
    CHECK_THROWS_WITH(decode<Everything>(parse_json(R"({"musst":"x"})"), Unknown::ignore),
                      "field 'must' is required");
    CHECK(failure(R"(,"colour":"red")") == "field 'colour' is unknown; did you mean 'color'?");
    CHECK(failure(R"(,"inner":{"numbr":1})") == "field 'inner.numbr' is unknown; did you mean 'number'?");
    CHECK_THAT(failure(R"(,"zzzzzzzz":1)"), Contains("the fields are flag, large"));
    CHECK_NOTHROW(decode<Everything>(parse_json(R"({"must":"x","colour":1})"), Unknown::ignore));
}

TEST_CASE("secrets can be left out") {
    Everything all;
    all.map = {{"key", "value"}};
    all.must = "hidden";
    const Value shown = encode(all, Secrets::redact);
    CHECK(shown["must"] == Value("***"));
    CHECK(shown["map"]["key"] == Value("***"));
    CHECK(encode(all)["must"] == Value("hidden"));

    InstanceSpec spec;
    spec.environment = {{"TOKEN", "canary"}};
    CHECK_THAT(to_json(encode(spec, Secrets::redact)), !Contains("canary") && Contains("TOKEN"));
}

TEST_CASE("the schema says what the decoder checks") {
    const Value schema = schema_of<Everything>();
    const Value& properties = schema["properties"];
    CHECK(schema["required"] == Value::array({"must"}));
    CHECK(properties["text"]["maxLength"] == Value(5));
    CHECK(properties["real"]["type"] == Value("number"));
    CHECK(properties["color"]["enum"] == Value::array({"red", "green"}));
    CHECK(properties["maybe"]["type"] == Value::array({"integer", "null"}));
    CHECK(properties["must"]["writeOnly"] == Value(true));
    CHECK(properties["list"]["items"]["properties"]["number"]["maximum"] == Value(9));
    CHECK(properties["inner"]["properties"]["number"]["description"] == Value("a digit"));
}
