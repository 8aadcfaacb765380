#pragma once

#include "core/store/cipher.hpp"
#include "core/store/sql.hpp"
#include "core/store/state_files.hpp"
#include "core/store/store.hpp"

#include <atomic>
#include <mutex>
#include <thread>

/// Inside of core/store only: everything that the writer owns.
namespace minions::core {

struct Transaction::Impl {
    Impl(const std::filesystem::path& at, const StoreOptions& wanted);

    std::filesystem::path directory;
    StoreOptions options;
    Fd directory_lock;
    std::unique_ptr<Sql> sql;
    std::unique_ptr<Cipher> cipher;
    std::unique_ptr<Reserve> reserve;
    std::string installation;
    std::function<void(const std::vector<Event>&)> listener;

    std::mutex writer;  ///< held for the whole of a transaction; guards all above and below
    std::atomic<std::thread::id> writing;

    // Of the transaction under way.
    std::vector<Event> new_events;
    std::vector<std::function<void()>> hooks;
    std::int64_t last_event = 0;  ///< newest id, committed or about to be

    void open();
    void open_key();
    void attempt(const std::function<void(Transaction&)>& fn);
};

/// JSON text of a document; "" for null.
std::string document_text(const Value& value);
Value text_document(const std::string& text);
/// '' ↔ nullopt.
inline std::string time_text(const std::optional<std::string>& time) { return time.value_or(""); }
inline std::optional<std::string> text_time(std::string text) {
    return text.empty() ? std::nullopt : std::optional(std::move(text));
}

template <WordEnum T>
T enum_from(const std::string& word) {
    return decode<T>(Value(word));
}

}  // namespace minions::core
