#include "core/store/store.hpp"

#include "core/store/ids.hpp"
#include "core/store/migrations.hpp"
#include "tests/unit/core/store/temporary_directory.hpp"

#include <minions/error.hpp>

#include <catch2/catch.hpp>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <thread>

using namespace minions;
using namespace minions::core;

namespace {

InstanceRow make_row(const std::string& name) {
    InstanceRow row;
    row.id = new_id();
    row.owner = "local";
    row.name = name;
    row.runtime = "fake";
    row.created_at = now_rfc3339();
    row.spec.image = "image";
    return row;
}

template <class Fn>
Error error_of(Fn&& fn) {
    try {
        fn();
    } catch (const Error& error) {
        return error;
    }
    FAIL("nothing was thrown");
    return {Code::internal, ""};
}

std::string contents(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

mode_t mode_of(const std::filesystem::path& file) {
    struct stat status {};
    REQUIRE(::stat(file.c_str(), &status) == 0);
    return status.st_mode & 0777;
}

}  // namespace

TEST_CASE("what was committed is there after a restart, whole") {
    const TemporaryDirectory directory;
    InstanceRow row = make_row("a");
    row.spec.environment = {{"KEY", "line\nbreak"}};
    row.spec.labels = {{"k", "v"}};
    row.facts.ports = {{"80/tcp", 8080}};
    std::string installation;
    {
        Store store(directory.path() / "state");
        installation = store.installation();
        store.transact([&](Transaction& transaction) {
            transaction.insert_instance(row);
            row.status = Status::running;
            row.boot = 3;
            transaction.update_instance(row);
            transaction.update_instance_state(row.id, {7, Value::object({{"container", "c"}})});
        });
    }
    Store store(directory.path() / "state");
    CHECK(store.installation() == installation);
    CHECK(installation.size() == 12);
    const auto rows = store.transact([](Transaction& transaction) { return transaction.instances(); });
    REQUIRE(rows.size() == 1);
    CHECK(rows[0].status == Status::running);
    CHECK(rows[0].boot == 3);
    CHECK(rows[0].spec.environment.at("KEY") == "line\nbreak");
    CHECK(rows[0].spec.labels.at("k") == "v");
    CHECK(rows[0].facts.ports.at("80/tcp") == 8080);
    REQUIRE(rows[0].state);
    CHECK(rows[0].state->version == 7);
    CHECK(rows[0].state->data["container"].string_or("") == "c");
}

TEST_CASE("others may pass through the state directory, and read nothing in it") {
    TemporaryDirectory directory;
    const bool root = ::geteuid() == 0;
    const mode_t before = ::umask(0);
    const auto state = directory.path() / "state";
    const auto protects = [&] {
        Store store(state);
        store.transact([](Transaction& transaction) { transaction.insert_instance(make_row("a")); });
        CHECK(mode_of(state) == (root ? 0711U : 0700U));
        CHECK(std::filesystem::exists(state / "state.db-wal"));
        for (const auto& entry : std::filesystem::directory_iterator(state)) {
            INFO(entry.path());
            CHECK((mode_of(entry.path()) & 077U) == 0U);
        }
    };
    protects();
    // Of an earlier version, or restored by hand.
    std::filesystem::remove_all(state);
    std::filesystem::create_directory(state);
    std::filesystem::permissions(state, std::filesystem::perms(0700));
    for (const char* name : {"state.db", "state.db-wal", "state.db-shm"}) {
        const std::ofstream made(state / name);
    }
    protects();
    ::umask(before);
}

TEST_CASE("a transaction that throws leaves nothing, and runs none of its hooks") {
    const TemporaryDirectory directory;
    Store store(directory.path());
    int hooks = 0;
    int heard = 0;
    store.set_event_listener(
        [&](const std::vector<Event>& events) { heard += static_cast<int>(events.size()); });
    CHECK_THROWS_AS(store.transact([&](Transaction& transaction) {
        transaction.insert_instance(make_row("a"));
        transaction.event("x", "y", Value());
        transaction.after_commit([&] { ++hooks; });
        throw Error{Code::failed, "no"};
    }),
                    Error);
    CHECK(hooks == 0);
    CHECK(heard == 0);
    store.transact([&](Transaction& transaction) {
        CHECK(transaction.instances().empty());
        CHECK(transaction.event("x", "y", Value()) == 1);
        transaction.after_commit([&] { ++hooks; });
    });
    CHECK(hooks == 1);
    CHECK(heard == 1);
}

TEST_CASE("a name is unique for its owner, and the sentence says so") {
    const TemporaryDirectory directory;
    Store store(directory.path());
    store.transact([](Transaction& transaction) { transaction.insert_instance(make_row("a")); });
    const Error error = error_of([&] {
        store.transact([](Transaction& transaction) { transaction.insert_instance(make_row("a")); });
    });
    CHECK(error.code() == Code::conflict);
    CHECK(error.message() == "VM 'a' already exists");
    InstanceRow other = make_row("a");
    other.owner = "somebody";
    store.transact([&](Transaction& transaction) { transaction.insert_instance(other); });
    InstanceRow b = make_row("b");
    store.transact([&](Transaction& transaction) { transaction.insert_instance(b); });
    CHECK(error_of([&] {
              store.transact([&](Transaction& transaction) { transaction.rename_instance(b.id, "a"); });
          }).code() == Code::conflict);
    store.transact([&](Transaction& transaction) { CHECK(transaction.instances().size() == 3); });
}

TEST_CASE("a second daemon is kept out, until the first has ended") {
    const TemporaryDirectory directory;
    auto first = std::make_unique<Store>(directory.path());
    const Error error = error_of([&] { Store second(directory.path()); });
    CHECK(error.code() == Code::conflict);
    CHECK(error.message().find("another daemon (process " + std::to_string(::getpid()) + ")") !=
          std::string::npos);
    CHECK(error.hint().find("--state-dir") != std::string::npos);
    first.reset();
    CHECK_NOTHROW(Store(directory.path()));
}

TEST_CASE("values of the environment are nowhere in the files") {
    const TemporaryDirectory directory;
    const std::string canary = "canary-7f3a9c";
    Store store(directory.path());
    InstanceRow row = make_row("a");
    row.spec.environment = {{"TOKEN", canary}};
    store.transact([&](Transaction& transaction) {
        transaction.insert_instance(row);
        row.spec.environment["MORE"] = canary + canary;
        transaction.update_instance_spec(row.id, row.spec);
    });
    bool saw_row = false;
    for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
        const std::string text = contents(entry.path());
        CHECK(text.find(canary) == std::string::npos);
        saw_row = saw_row || text.find(row.id) != std::string::npos;
        CHECK(mode_of(entry.path()) == 0600);
    }
    CHECK(saw_row);  // else the search proves nothing
    CHECK(std::filesystem::file_size(directory.path() / "key") == 32);
}

TEST_CASE("a lost, foreign or public key file stops the start with a sentence") {
    const TemporaryDirectory directory;
    { Store store(directory.path()); }
    const auto key = directory.path() / "key";
    SECTION("lost") {
        std::filesystem::remove(key);
        CHECK(error_of([&] { Store store(directory.path()); }).message().find("is gone") !=
              std::string::npos);
        CHECK_FALSE(std::filesystem::exists(key));
    }
    SECTION("another") {
        std::ofstream(key, std::ios::binary) << std::string(32, 'x');
        CHECK(error_of([&] { Store store(directory.path()); }).code() == Code::unavailable);
    }
    SECTION("readable by others") {
        REQUIRE(::chmod(key.c_str(), 0644) == 0);
        CHECK(error_of([&] { Store store(directory.path()); }).hint().find("chmod 600") != std::string::npos);
    }
}

TEST_CASE("a newer schema is refused and left alone") {
    const TemporaryDirectory directory;
    { Store store(directory.path()); }
    {
        Sql sql(directory.path() / "state.db");
        sql.execute("PRAGMA user_version=999");
    }
    const Error error = error_of([&] { Store store(directory.path()); });
    CHECK(error.code() == Code::unavailable);
    CHECK(error.message().find("schema 999") != std::string::npos);
    Sql sql(directory.path() / "state.db");
    CHECK(sql.number("PRAGMA user_version") == 999);
}

TEST_CASE("a migration keeps a copy of what was there, and leaves it as it was if it fails") {
    const TemporaryDirectory directory;
    const auto file = directory.path() / "test.db";
    static constexpr const char* one[] = {"CREATE TABLE t (x TEXT)"};
    static constexpr const char* two[] = {"ALTER TABLE t ADD COLUMN y TEXT NOT NULL DEFAULT 'new'"};
    static constexpr const char* broken[] = {"CREATE TABLE u (x TEXT)", "CREATE TABLE t (x TEXT)"};
    const Migration first[] = {{1, one}};
    const Migration both[] = {{1, one}, {2, two}};
    const Migration bad[] = {{1, one}, {2, two}, {3, broken}};
    {
        Sql sql(file);
        migrate(sql, file, first);
        sql.command("INSERT INTO t VALUES (?)", "kept");
    }
    CHECK_FALSE(std::filesystem::exists(file.string() + ".v0.backup"));
    Sql sql(file);
    migrate(sql, file, both);
    CHECK(sql.number("PRAGMA user_version") == 2);
    CHECK(std::get<0>(sql.query<std::string>("SELECT y FROM t").at(0)) == "new");
    {
        Sql backup(file.string() + ".v1.backup");
        CHECK(std::get<0>(backup.query<std::string>("SELECT x FROM t").at(0)) == "kept");
        CHECK(backup.number("PRAGMA user_version") == 1);
    }
    CHECK(mode_of(file.string() + ".v1.backup") == 0600);
    CHECK_THROWS(migrate(sql, file, bad));
    CHECK(sql.number("PRAGMA user_version") == 2);
    CHECK(sql.number("SELECT count(*) FROM sqlite_master WHERE name = 'u'") == 0);
}

TEST_CASE("journal rows come newest first, with what made them") {
    const TemporaryDirectory directory;
    Store store(directory.path());
    store.transact([](Transaction& transaction) {
        for (const char* key : {"one", "two", "three"})
            transaction.insert_journal({{0, "instance", "disk", key, false}, "fake", "operation", ""});
        const auto id = transaction.insert_journal({{0, "", "image", "i", false}, "fake", "operation", ""});
        transaction.hold_journal(id);
    });
    store.transact([](Transaction& transaction) {
        const auto rows = transaction.journal_of_instance("instance");
        REQUIRE(rows.size() == 3);
        CHECK(rows[0].row.key == "three");
        CHECK(rows[2].row.key == "one");
        CHECK_FALSE(rows[0].row.held);
        transaction.delete_journal("fake", "instance", "disk", "two");
        transaction.insert_journal({{0, "", "directory", "core's own", false}, "", "operation", ""});
        transaction.assign_journal("operation", "instance");
        const auto left = transaction.journal_of_instance("instance");
        REQUIRE(left.size() == 3);
        CHECK(left[0].row.kind == "image");
        CHECK(left[0].row.held);
    });
}

TEST_CASE("journal rows are orphans when neither an instance nor an operation under way has them") {
    const TemporaryDirectory directory;
    Store store(directory.path());
    store.transact([](Transaction& transaction) {
        InstanceRow instance;
        instance.id = "there";
        instance.name = "n";
        transaction.insert_instance(instance);
        OperationRow running;
        running.id = "running";
        transaction.insert_operation(running);
        OperationRow ended = running;
        ended.id = "ended";
        ended.status = OperationStatus::failed;
        transaction.insert_operation(ended);
        const auto insert = [&](const char* owner, const char* operation, const char* key) {
            transaction.insert_journal({{0, owner, "kind", key, true}, "fake", operation, ""});
        };
        insert("there", "ended", "of an instance");
        insert("", "running", "of a build");
        insert("gone", "running", "of a destroy");
        insert("gone", "ended", "first");
        insert("", "ended", "second");
        insert("", "pruned", "third");
        transaction.insert_journal({{0, "", "kind", "another's", true}, "other", "ended", ""});
        std::vector<std::string> keys;
        for (const auto& record : transaction.orphaned_journal("fake")) keys.push_back(record.row.key);
        CHECK(keys == std::vector<std::string>{"third", "second", "first"});
    });
}

TEST_CASE("a commit is on disk when it returns") {
    const TemporaryDirectory directory;
    Sql sql(directory.path() / "state.db");
    CHECK(std::get<0>(sql.query<std::string>("PRAGMA journal_mode").at(0)) == "wal");
    CHECK(sql.number("PRAGMA synchronous") == 2);  // FULL
}

TEST_CASE("tokens, deployments and diagnoses are kept") {
    const TemporaryDirectory directory;
    Store store(directory.path());
    store.transact([](Transaction& transaction) {
        transaction.insert_token({"t1", "hash", "ci", "manage", "abcd", now_rfc3339(), std::nullopt});
        const auto tokens = transaction.tokens();
        REQUIRE(tokens.size() == 1);
        CHECK(tokens.front().hash == "hash");
        CHECK(tokens.front().name == "ci");
        CHECK_FALSE(tokens.front().expires_at);
        CHECK(transaction.delete_token("t1"));
        CHECK_FALSE(transaction.delete_token("t1"));

        DeploymentRow row;
        row.id = "d1";
        row.owner = "local";
        row.agent_name = "agent";
        row.created_at = now_rfc3339();
        row.request = Value::object({{"branch", "main"}});
        transaction.insert_deployment(row);
        CHECK(transaction.unfinished_deployments().size() == 1);
        row.finished_at = now_rfc3339();
        row.error = Value::object({{"code", "failed"}});
        transaction.update_deployment(row);
        CHECK(transaction.unfinished_deployments().empty());
        CHECK(transaction.deployments("local", "", 10).size() == 1);
        CHECK(transaction.deployments("local", "other", 10).empty());
        CHECK(transaction.deployment("d1")->request["branch"].string_or("") == "main");

        transaction.put_diagnosis({"local", "a", now_rfc3339(), Value::object({{"stage", "one"}})});
        transaction.put_diagnosis({"local", "a", now_rfc3339(), Value::object({{"stage", "two"}})});
        CHECK(transaction.diagnosis("local", "a")->document["stage"].string_or("") == "two");
        CHECK_FALSE(transaction.diagnosis("other", "a"));
    });
}

TEST_CASE("a transaction within a transaction is refused instead of hanging") {
    const TemporaryDirectory directory;
    Store store(directory.path());
    const Error error =
        error_of([&] { store.transact([&](Transaction&) { store.transact([](Transaction&) {}); }); });
    CHECK(error.code() == Code::internal);
}

namespace {

/// In a child with a file system of its own of 24 MiB. Returns the exit code: 0 if all held, 77 without
/// rights.
int fill_a_disk(const std::filesystem::path& directory) {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", directory.c_str(), "tmpfs", 0, "size=24m,mode=700") != 0)
        return 77;
    Store store(directory);
    const InstanceRow row = make_row("victim");
    store.transact([&](Transaction& transaction) { transaction.insert_instance(row); });
    std::ofstream filler(directory / "filler", std::ios::binary);
    const std::string block(4096, 'x');
    while (filler.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
    }
    try {
        for (int i = 0; i < 10000; ++i)
            store.transact([&](Transaction& transaction) {
                transaction.insert_instance(make_row("n" + std::to_string(i)));
            });
        return 1;  // a full disk took everything
    } catch (const Error& error) {
        if (error.code() != Code::no_space) return 2;
    }
    try {
        store.transact([&](Transaction& transaction) {
            transaction.delete_instance(row.id);
            transaction.event("instance.destroyed", row.name, Value());
        });
    } catch (const Error&) {
        return 3;
    }
    return store.transact([&](Transaction& transaction) {
        for (const InstanceRow& left : transaction.instances())
            if (left.id == row.id) return 4;
        return 0;
    });
}

}  // namespace

TEST_CASE("on a full disk creates fail with no_space, and deletes still work") {
    const TemporaryDirectory directory;
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) ::_exit(fill_a_disk(directory.path()));
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        WARN("not shown here: mounting a small file system needs root");
        return;
    }
    CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("each VM has a slot of its own for as long as it exists") {
    const TemporaryDirectory directory;
    Store store(directory.path());
    const auto slot = [&](const char* id) {
        return store.transact([&](Transaction& transaction) { return transaction.vm_slot(id, 3); });
    };
    CHECK(slot("a") == 0);
    CHECK(slot("b") == 1);
    CHECK(slot("c") == 2);
    CHECK(slot("b") == 1);
    CHECK(error_of([&] { slot("d"); }).code() == Code::no_space);
    store.transact([](Transaction& transaction) { transaction.delete_instance("b"); });
    CHECK(slot("d") == 1);
}
