#include "core/store/store.hpp"

#include "core/store/ids.hpp"
#include "core/store/migrations.hpp"
#include "core/store/transaction_impl.hpp"

#include <minions/base/failpoint.hpp>
#include <minions/error.hpp>

#include <Poco/Data/DataException.h>
#include <Poco/Data/SQLite/SQLiteException.h>
#include <fmt/format.h>

#include <sys/stat.h>
#include <sys/statvfs.h>

namespace minions::core {

namespace sqlite = Poco::Data::SQLite;

namespace {

constexpr std::uint64_t reserve_bytes = std::uint64_t{8} << 20U;
constexpr const char* key_check = "minions key check";

bool disk_is_full(const std::filesystem::path& directory) {
    struct statvfs space {};
    return ::statvfs(directory.c_str(), &space) == 0 && space.f_bavail * space.f_frsize < (1U << 20U);
}

Error no_space(const std::filesystem::path& directory) {
    return {Code::no_space, fmt::format("no space is left for the database in {}", directory.string()),
            "free space on that file system; destroying instances works meanwhile"};
}

/// The exception in flight as ours.
Error translate(const std::filesystem::path& directory) {
    const std::string file = (directory / "state.db").string();
    try {
        throw;
    } catch (const Error& error) {
        return error;
    } catch (const sqlite::DatabaseFullException&) {
        return no_space(directory);
    } catch (const sqlite::IOErrorException& error) {
        if (disk_is_full(directory)) return no_space(directory);
        return {Code::unavailable, fmt::format("cannot read or write {}: {}", file, error.displayText()),
                "look for disk errors in the kernel's log", true};
    } catch (const sqlite::ConstraintViolationException& error) {
        return {Code::conflict, fmt::format("the database has that row already: {}", error.message())};
    } catch (const sqlite::DBLockedException&) {
        return {Code::unavailable, fmt::format("another program keeps {} locked", file), "end it", true};
    } catch (const sqlite::CorruptImageException&) {
        return {Code::unavailable, fmt::format("the database {} is damaged", file),
                "restore it from a backup; the copies beside it are from before a change of schema"};
    } catch (const Poco::Exception& error) {
        return {Code::unavailable, fmt::format("the database {} failed: {}", file, error.displayText())};
    } catch (...) {
        return current_error();
    }
}

}  // namespace

std::string document_text(const Value& value) { return value.is_null() ? "" : to_json(value); }
Value text_document(const std::string& text) { return text.empty() ? Value() : parse_json(text); }

Transaction::Impl::Impl(const std::filesystem::path& at, const StoreOptions& wanted)
    : directory(at), options(wanted), directory_lock(lock_directory(at)) {}

void Transaction::Impl::open_key() {
    const auto check = sql->query<std::string>("SELECT value FROM meta WHERE key = 'key_check'");
    cipher = std::make_unique<Cipher>(read_key(directory / "key", check.empty()));
    if (check.empty()) {
        sql->command("INSERT INTO meta (key, value) VALUES ('key_check', ?)",
                     cipher->encrypt(key_check, "meta"));
    } else {
        cipher->decrypt(std::get<0>(check.front()), "meta");
    }
}

void Transaction::Impl::open() {
    const std::filesystem::path file = directory / "state.db";
    reserve = std::make_unique<Reserve>(directory / "reserve", reserve_bytes);
    protect_database(file);
    sql = std::make_unique<Sql>(file);
    migrate(*sql, file);
    sql->execute("BEGIN IMMEDIATE");
    sql->command("INSERT OR IGNORE INTO meta (key, value) VALUES ('installation', ?)", new_id());
    open_key();
    sql->execute("COMMIT");
    installation =
        std::get<0>(sql->query<std::string>("SELECT value FROM meta WHERE key = 'installation'").at(0));
    last_event = sql->number("SELECT coalesce(max(id), 0) FROM events");
}

void Transaction::Impl::attempt(const std::function<void(Transaction&)>& fn) {
    new_events.clear();
    hooks.clear();
    const std::int64_t event_before = last_event;
    sql->execute("BEGIN IMMEDIATE");
    try {
        Transaction transaction(*this);
        fn(transaction);
        MINIONS_FAILPOINT("store.commit.before");
        sql->execute("COMMIT");
    } catch (...) {
        const auto failure = std::current_exception();
        try {
            sql->execute("ROLLBACK");
        } catch (const Poco::Exception&) {  // after SQLITE_FULL it has rolled back by itself
        }
        last_event = event_before;
        new_events.clear();
        hooks.clear();
        std::rethrow_exception(failure);
    }
    for (const auto& hook : hooks) hook();
    if (listener && !new_events.empty()) listener(new_events);
    new_events.clear();
    hooks.clear();
    // Behind the hooks: a caller that is told of a failure then does not leave memory and database apart.
    MINIONS_FAILPOINT("store.commit.after");
}

Store::Store(const std::filesystem::path& directory, StoreOptions options) {
    try {
        impl_ = std::make_unique<Transaction::Impl>(std::filesystem::absolute(directory), options);
        impl_->open();
    } catch (...) {
        throw translate(directory);
    }
}

Store::~Store() = default;

const std::string& Store::installation() const noexcept { return impl_->installation; }
const std::filesystem::path& Store::directory() const noexcept { return impl_->directory; }

void Store::set_event_listener(std::function<void(const std::vector<Event>&)> listener) {
    const std::lock_guard lock(impl_->writer);
    impl_->listener = std::move(listener);
}

void Store::run(const std::function<void(Transaction&)>& fn) {
    Transaction::Impl& impl = *impl_;
    if (impl.writing.load() == std::this_thread::get_id())
        throw Error{Code::internal, "a database transaction was begun within another"};
    const std::lock_guard lock(impl.writer);
    impl.writing = std::this_thread::get_id();
    struct Leave {
        std::atomic<std::thread::id>& writing;
        ~Leave() { writing = std::thread::id(); }
    } const leave{impl.writing};

    if (!impl.reserve->held()) impl.reserve->refill();
    try {
        impl.attempt(fn);
        return;
    } catch (...) {
        Error error = translate(impl.directory);
        if (error.code() != Code::no_space || !impl.reserve->release()) throw error;
    }
    try {
        impl.attempt(fn);
    } catch (...) {
        throw translate(impl.directory);
    }
}

}  // namespace minions::core
