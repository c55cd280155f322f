import type { ErrorCode } from '@skein/core'

/** What can go wrong between a machine and a TensorFlow device. */
export const DeviceErrors = {
  RUNTIME_MISSING: {
    code: 'SKEIN_DEVICE_RUNTIME_MISSING',
    retry: 'same-op',
    meaning: 'The TensorFlow runtime is not in the cache of this user; `skein setup` builds it.',
  },
  RUNTIME_DAMAGED: {
    code: 'SKEIN_DEVICE_RUNTIME_DAMAGED',
    retry: 'same-op',
    meaning: 'The cached TensorFlow runtime differs from its manifest, or does not load.',
  },
  TOOL_MISSING: {
    code: 'SKEIN_DEVICE_TOOL_MISSING',
    retry: 'same-op',
    meaning: 'A program or platform feature that the set-up of the TensorFlow runtime needs is not on this machine.',
  },
  SETUP_FAILED: {
    code: 'SKEIN_DEVICE_SETUP_FAILED',
    retry: 'same-op',
    meaning: 'A step of the set-up of the TensorFlow runtime (download, unpack, compile, check) failed.',
  },
  SETUP_BUSY: {
    code: 'SKEIN_DEVICE_SETUP_BUSY',
    retry: 'same-op',
    meaning: 'Another set-up of the same runtime holds the lock for longer than the caller wants to wait.',
  },
  ARCHIVE_BROKEN: {
    code: 'SKEIN_DEVICE_ARCHIVE_BROKEN',
    retry: 'same-op',
    meaning: 'A downloaded wheel is not a whole zip archive, or lacks a member that the runtime needs.',
  },
  BACKEND_UNAVAILABLE: {
    code: 'SKEIN_DEVICE_BACKEND_UNAVAILABLE',
    retry: 'never',
    meaning: 'The device that was asked for by name cannot be used on this machine.',
  },
  KERNEL_SHAPE: {
    code: 'SKEIN_DEVICE_KERNEL_SHAPE',
    retry: 'never',
    meaning: 'An op of a pass was given tensors whose shapes do not fit together: a defect of the model.',
  },
  PRECISION_UNSUPPORTED: {
    code: 'SKEIN_DEVICE_PRECISION_UNSUPPORTED',
    retry: 'never',
    meaning: 'The chosen kernels cannot compute products in the precision that was asked for.',
  },
} as const satisfies Record<string, ErrorCode>
