#pragma once

#include "core/operations/call_context.hpp"
#include "core/plugins/runtimes.hpp"
#include "core/store/store.hpp"

#include <vector>

namespace minions::core {

/// Undoes journal rows of the runtime and of core itself, in the order in which they are given (the store's:
/// newest first). One that resists keeps its row and does not stop the others. Throws what the runtime threw
/// last.
void release_rows(Store& store, const RuntimeHandle& runtime, CallContext& call,
                  const std::vector<JournalRecord>& records);

}  // namespace minions::core
