#pragma once

#include "plugins/qemu/qmp.hpp"
#include "plugins/vmkit/vmm.hpp"

#include <cstdint>
#include <string>

/// The CPUs and the memory that a machine gets and gives back while it runs. The guest has a part in it: it
/// takes what is offered, and gives back what it is asked for, when it can.
namespace minions::qemu {

/// The least that a Linux guest takes or gives back, and so what memory changes in steps of.
constexpr std::int64_t memory_step_mb = 4;
/// The device of the memory that comes and goes (virtio-mem).
constexpr const char* more_memory = "more-memory";

/// MiB that a machine can come to have beyond those of its start; 0: it has no such device.
std::int64_t more_memory_mb(const vmkit::Machine& machine);

/// How many CPUs the machine has. Those are always the first ones that it can have, so that their number
/// tells which.
int count_cpus(Qmp& qmp);
/// MiB that the machine has beyond those of its start.
std::int64_t count_more_memory_mb(Qmp& qmp);

/// What is thrown of a size that a machine cannot come to have while it runs.
[[noreturn]] void refuse_size(const char* field, const std::string& reason);

/// Throws Error{invalid} if the machine cannot come to have so many CPUs because QEMU could not take one
/// away.
void check_cpus(Qmp& qmp, int wanted);

/// These change the machine until it has what is wanted. `patience`: how long the guest may do nothing
/// towards that. Throw Error{failed} when it cannot or does not go along; the machine then has anything
/// between.
void change_cpus(Qmp& qmp, int wanted, milliseconds patience);
void change_more_memory(Qmp& qmp, std::int64_t wanted_mb, milliseconds patience);

}  // namespace minions::qemu
