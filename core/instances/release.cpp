#include "core/instances/release.hpp"

#include <minions/base/failpoint.hpp>

#include <exception>

namespace minions::core {

void release_rows(Store& store, const RuntimeHandle& runtime, CallContext& call,
                  const std::vector<JournalRecord>& records) {
    std::exception_ptr failure;
    for (const JournalRecord& record : records) {
        try {
            MINIONS_FAILPOINT("journal.release.before");
            if (record.runtime.empty()) {
                call.release_own(record.row);
            } else {
                runtime.runtime->release(call, record.row);
            }
            MINIONS_FAILPOINT("journal.release.after");
            store.transact([&](Transaction& transaction) { transaction.delete_journal(record.row.id); });
        } catch (const std::exception&) {
            failure = std::current_exception();
        }
    }
    if (failure) std::rethrow_exception(failure);
}

}  // namespace minions::core
