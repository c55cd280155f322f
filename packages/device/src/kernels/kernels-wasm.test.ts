import { openKernelDevice } from './open-kernel-device.ts'
import { describeKernels } from './kernels.test.support.ts'

// One backend of tfjs per process: the cpu backend has its own file.
describeKernels('portable on wasm', () => openKernelDevice('wasm'))
