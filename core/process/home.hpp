#pragma once

#include "core/process/options.hpp"
#include "core/store/store.hpp"

#include <minions/context.hpp>

#include <string>

namespace minions::core {

/// Where the processes of an instance live, without making anything. `uid` and `gid` are the daemon's.
ProcessHome home_paths(const ProcessOptions& options, const std::string& instance);

/// Makes it, journalled, where it is not there, and says what its processes run as. Throws no_space (no user
/// is left), unavailable.
ProcessHome make_home(Store& store, const ProcessOptions& options, const std::string& instance,
                      const std::string& operation);

/// Its rows say `held` from this commit on. In one of the caller's, since undoing an intent is the same and a
/// commit of its own would cost as much as all the rest.
void hold_home(Transaction& transaction, const std::string& instance);

/// Undoes a row of kind "directory". Throws conflict while a process of the instance lives in it, failed for
/// a directory that is not one of these.
void remove_home(const ProcessOptions& options, const JournalRow& row);

}  // namespace minions::core
