#include "core/instances/table.hpp"
#include "core/store/ids.hpp"
#include "tests/unit/core/instances/fake_runtime.hpp"

using namespace minions;
using namespace minions::core;

namespace {

InstanceRow row_of(int number) {
    InstanceRow row;
    row.id = new_id();
    row.owner = "local";
    row.name = fmt::format("n{}", number);
    row.runtime = number % 2 == 0 ? "even" : "odd";
    row.status = number % 3 == 0 ? Status::stopped : Status::running;
    row.created_at = fmt::format("2026-01-01T00:00:{:02}.000Z", number / 10 % 60);
    row.spec.image = "image";
    row.spec.labels = {{"third", std::to_string(number % 3)}};
    return row;
}

std::vector<std::string> names_of(const std::string& body) {
    std::vector<std::string> names;
    const Value list = parse_json(body);
    for (const Value& item : *list.if_array()) names.push_back(item["name"].string_or(""));
    return names;
}

}  // namespace

TEST_CASE("the cached list is rebuilt by a change, and only then") {
    InstanceTable table;
    CHECK(*table.list({}).body == "[]");
    table.put(make_view(row_of(1)));
    const auto first = table.list({}).body;
    CHECK(table.list({}).body == first);
    InstanceRow other = row_of(2);
    other.owner = "somebody";
    table.put(make_view(other));
    CHECK(names_of(*table.list({}).body) == std::vector<std::string>{"n1"});
    const auto view = table.find(InstanceKey{"n1"});
    InstanceRow renamed = view->row;
    renamed.name = "new";
    table.put(make_view(renamed));
    CHECK(names_of(*table.list({}).body) == std::vector<std::string>{"new"});
    CHECK_FALSE(table.find(InstanceKey{"n1"}));
    CHECK(names_of(*first) == std::vector<std::string>{"n1"});  // who has it keeps it
    table.remove(renamed.id);
    CHECK(*table.list({}).body == "[]");
}

TEST_CASE("pages cover everything once and in order, also where times are equal") {
    InstanceTable table;
    for (int i = 0; i < 95; ++i) table.put(make_view(row_of(i)));
    const auto whole = names_of(*table.list({}).body);
    REQUIRE(whole.size() == 95);
    std::vector<std::string> paged;
    ListQuery query;
    query.limit = 10;
    int pages = 0;
    for (;;) {
        const ListPage page = table.list(query);
        for (auto& name : names_of(*page.body)) paged.push_back(name);
        ++pages;
        if (!page.next) break;
        query.cursor = page.next;
    }
    CHECK(pages == 10);
    CHECK(paged == whole);
    query.cursor = "nonsense";
    CHECK(error_of([&] { table.list(query); }).code() == Code::invalid);
    query.cursor.reset();
    query.limit = 0;
    CHECK(error_of([&] { table.list(query); }).code() == Code::invalid);
}

TEST_CASE("filters combine") {
    InstanceTable table;
    for (int i = 0; i < 30; ++i) table.put(make_view(row_of(i)));
    ListQuery query;
    query.status = Status::stopped;
    CHECK(table.views(query).size() == 10);
    query.runtime = "even";
    CHECK(table.views(query).size() == 5);
    query.labels = {{"third", "0"}};
    CHECK(table.views(query).size() == 5);
    query.labels.emplace_back("third", "1");
    CHECK(*table.list(query).body == "[]");
    CHECK(table.counts().at({"even", Status::stopped}) == 5);
}

TEST_CASE("readers and a writer at once always see whole lists") {
    InstanceTable table;
    std::vector<InstanceRow> rows;
    for (int i = 0; i < 50; ++i) rows.push_back(row_of(i));
    for (const InstanceRow& row : rows) table.put(make_view(row));
    std::atomic<bool> done{false};
    std::atomic<int> wrong{0};
    std::vector<std::thread> readers;
    for (int i = 0; i < 4; ++i)
        readers.emplace_back([&] {
            while (!done)
                if (parse_json(*table.list({}).body).if_array()->size() != 50) ++wrong;
        });
    for (int round = 0; round < 20; ++round)
        for (InstanceRow& row : rows) {
            ++row.boot;
            table.put(make_view(row));
        }
    done = true;
    for (auto& reader : readers) reader.join();
    CHECK(wrong == 0);
}

TEST_CASE("a thousand instances are recovered without a commit for each") {
    World world;
    world.daemon->store.transact([&](Transaction& transaction) {
        const auto now = world.runtime.state.lock();
        for (int i = 0; i < 1000; ++i) {
            InstanceRow row = row_of(i);
            row.runtime = "fake";
            row.status = row.facts.status = Status::running;
            transaction.insert_instance(row);
            now->instances[row.id].status = Status::stopped;  // each is news
        }
    });
    world.restart();
    std::atomic<std::size_t> commits{0};
    std::atomic<std::size_t> events{0};
    world.daemon->store.set_event_listener([&](const std::vector<Event>& made) {
        ++commits;
        events += made.size();
    });
    world.instances().start();
    REQUIRE(world.instances().wait_recovered(soon()));
    CHECK(events >= 1000);
    CHECK(commits < 200);
    ListQuery query;
    query.status = Status::stopped;
    CHECK(world.instances().views(query).size() == 1000);
    CHECK(world.runtime.count("recover") == 1000);
    world.daemon->store.set_event_listener({});
}
