// Every form of the instruction table in the three styles, written down apart from the code under test: the kernel's from
// its verifier log and LLVM's from llvm-objdump, both held against the real thing elsewhere; where neither has a text, it
// is our own. "~" stands for a tab.
const ROWS = `
0701000005000000                 ; r1 += 5                                     ; r1 += 5                                        ; add %r1, 5
0f21000000000000                 ; r1 += r2                                    ; r1 += r2                                       ; add %r1, %r2
04010000fbffffff                 ; w1 += -5                                    ; w1 += -5                                       ; add32 %r1, -5
0c21000000000000                 ; w1 += w2                                    ; w1 += w2                                       ; add32 %r1, %r2
1701000005000000                 ; r1 -= 5                                     ; r1 -= 5                                        ; sub %r1, 5
1f21000000000000                 ; r1 -= r2                                    ; r1 -= r2                                       ; sub %r1, %r2
14010000fbffffff                 ; w1 -= -5                                    ; w1 -= -5                                       ; sub32 %r1, -5
1c21000000000000                 ; w1 -= w2                                    ; w1 -= w2                                       ; sub32 %r1, %r2
2701000005000000                 ; r1 *= 5                                     ; r1 *= 5                                        ; mul %r1, 5
2f21000000000000                 ; r1 *= r2                                    ; r1 *= r2                                       ; mul %r1, %r2
24010000fbffffff                 ; w1 *= -5                                    ; w1 *= -5                                       ; mul32 %r1, -5
2c21000000000000                 ; w1 *= w2                                    ; w1 *= w2                                       ; mul32 %r1, %r2
3701000005000000                 ; r1 /= 5                                     ; r1 /= 5                                        ; div %r1, 5
3f21000000000000                 ; r1 /= r2                                    ; r1 /= r2                                       ; div %r1, %r2
34010000fbffffff                 ; w1 /= -5                                    ; w1 /= -5                                       ; div32 %r1, -5
3c21000000000000                 ; w1 /= w2                                    ; w1 /= w2                                       ; div32 %r1, %r2
3701010005000000                 ; r1 s/= 5                                    ; r1 s/= 5                                       ; sdiv %r1, 5
3f21010000000000                 ; r1 s/= r2                                   ; r1 s/= r2                                      ; sdiv %r1, %r2
34010100fbffffff                 ; w1 s/= -5                                   ; w1 s/= -5                                      ; sdiv32 %r1, -5
3c21010000000000                 ; w1 s/= w2                                   ; w1 s/= w2                                      ; sdiv32 %r1, %r2
4701000005000000                 ; r1 |= 5                                     ; r1 |= 5                                        ; or %r1, 5
4f21000000000000                 ; r1 |= r2                                    ; r1 |= r2                                       ; or %r1, %r2
44010000fbffffff                 ; w1 |= -5                                    ; w1 |= -5                                       ; or32 %r1, -5
4c21000000000000                 ; w1 |= w2                                    ; w1 |= w2                                       ; or32 %r1, %r2
5701000005000000                 ; r1 &= 5                                     ; r1 &= 5                                        ; and %r1, 5
5f21000000000000                 ; r1 &= r2                                    ; r1 &= r2                                       ; and %r1, %r2
54010000fbffffff                 ; w1 &= -5                                    ; w1 &= -5                                       ; and32 %r1, -5
5c21000000000000                 ; w1 &= w2                                    ; w1 &= w2                                       ; and32 %r1, %r2
6701000005000000                 ; r1 <<= 5                                    ; r1 <<= 5                                       ; lsh %r1, 5
6f21000000000000                 ; r1 <<= r2                                   ; r1 <<= r2                                      ; lsh %r1, %r2
64010000fbffffff                 ; w1 <<= -5                                   ; w1 <<= -5                                      ; lsh32 %r1, -5
6c21000000000000                 ; w1 <<= w2                                   ; w1 <<= w2                                      ; lsh32 %r1, %r2
7701000005000000                 ; r1 >>= 5                                    ; r1 >>= 5                                       ; rsh %r1, 5
7f21000000000000                 ; r1 >>= r2                                   ; r1 >>= r2                                      ; rsh %r1, %r2
74010000fbffffff                 ; w1 >>= -5                                   ; w1 >>= -5                                      ; rsh32 %r1, -5
7c21000000000000                 ; w1 >>= w2                                   ; w1 >>= w2                                      ; rsh32 %r1, %r2
9701000005000000                 ; r1 %= 5                                     ; r1 %= 5                                        ; mod %r1, 5
9f21000000000000                 ; r1 %= r2                                    ; r1 %= r2                                       ; mod %r1, %r2
94010000fbffffff                 ; w1 %= -5                                    ; w1 %= -5                                       ; mod32 %r1, -5
9c21000000000000                 ; w1 %= w2                                    ; w1 %= w2                                       ; mod32 %r1, %r2
9701010005000000                 ; r1 s%= 5                                    ; r1 s%= 5                                       ; smod %r1, 5
9f21010000000000                 ; r1 s%= r2                                   ; r1 s%= r2                                      ; smod %r1, %r2
94010100fbffffff                 ; w1 s%= -5                                   ; w1 s%= -5                                      ; smod32 %r1, -5
9c21010000000000                 ; w1 s%= w2                                   ; w1 s%= w2                                      ; smod32 %r1, %r2
a701000005000000                 ; r1 ^= 5                                     ; r1 ^= 5                                        ; xor %r1, 5
af21000000000000                 ; r1 ^= r2                                    ; r1 ^= r2                                       ; xor %r1, %r2
a4010000fbffffff                 ; w1 ^= -5                                    ; w1 ^= -5                                       ; xor32 %r1, -5
ac21000000000000                 ; w1 ^= w2                                    ; w1 ^= w2                                       ; xor32 %r1, %r2
c701000005000000                 ; r1 s>>= 5                                   ; r1 s>>= 5                                      ; arsh %r1, 5
cf21000000000000                 ; r1 s>>= r2                                  ; r1 s>>= r2                                     ; arsh %r1, %r2
c4010000fbffffff                 ; w1 s>>= -5                                  ; w1 s>>= -5                                     ; arsh32 %r1, -5
cc21000000000000                 ; w1 s>>= w2                                  ; w1 s>>= w2                                     ; arsh32 %r1, %r2
b701000005000000                 ; r1 = 5                                      ; r1 = 5                                         ; mov %r1, 5
bf21000000000000                 ; r1 = r2                                     ; r1 = r2                                        ; mov %r1, %r2
b4010000fbffffff                 ; w1 = -5                                     ; w1 = -5                                        ; mov32 %r1, -5
bc21000000000000                 ; w1 = w2                                     ; w1 = w2                                        ; mov32 %r1, %r2
8701000000000000                 ; r1 = -r1                                    ; r1 = -r1                                       ; neg %r1
8401000000000000                 ; w1 = -w1                                    ; w1 = -w1                                       ; neg32 %r1
bf21080000000000                 ; r1 = (s8)r2                                 ; r1 = (s8)r2                                    ; movsx864 %r1, %r2
bf21100000000000                 ; r1 = (s16)r2                                ; r1 = (s16)r2                                   ; movsx1664 %r1, %r2
bf21200000000000                 ; r1 = (s32)r2                                ; r1 = (s32)r2                                   ; movsx3264 %r1, %r2
bc21080000000000                 ; w1 = (s8)w2                                 ; w1 = (s8)w2                                    ; movsx832 %r1, %r2
bc21100000000000                 ; w1 = (s16)w2                                ; w1 = (s16)w2                                   ; movsx1632 %r1, %r2
d401000010000000                 ; r1 = le16 r1                                ; r1 = le16 r1                                   ; le16 %r1
d401000020000000                 ; r1 = le32 r1                                ; r1 = le32 r1                                   ; le32 %r1
d401000040000000                 ; r1 = le64 r1                                ; r1 = le64 r1                                   ; le64 %r1
dc01000010000000                 ; r1 = be16 r1                                ; r1 = be16 r1                                   ; be16 %r1
dc01000020000000                 ; r1 = be32 r1                                ; r1 = be32 r1                                   ; be32 %r1
dc01000040000000                 ; r1 = be64 r1                                ; r1 = be64 r1                                   ; be64 %r1
d701000010000000                 ; r1 = bswap16 r1                             ; r1 = bswap16 r1                                ; bswap16 %r1
d701000020000000                 ; r1 = bswap32 r1                             ; r1 = bswap32 r1                                ; bswap32 %r1
d701000040000000                 ; r1 = bswap64 r1                             ; r1 = bswap64 r1                                ; bswap64 %r1
bf21010001000000                 ; r1 = addr_space_cast(r2, 0, 1)              ; r1 = addr_space_cast(r2, 0, 1)                 ; addr_space_cast %r1, %r2, 0, 1
bf21010000000100                 ; r1 = addr_space_cast(r2, 1, 0)              ; r1 = addr_space_cast(r2, 1, 0)                 ; addr_space_cast %r1, %r2, 1, 0
bf21ffff00000000                 ; r1 = &(void __percpu *)(r2)                 ; r1 = &(void __percpu *)(r2)                    ; mov_percpu %r1, %r2
18010000887766550000000044332211 ; r1 = 1234605616436508552 ll                 ; r1 = 0x1122334455667788                        ; lddw %r1, 0x1122334455667788
18010000ffffffff00000000ffffffff ; r1 = -1 ll                                  ; r1 = 0xffffffffffffffff                        ; lddw %r1, 0xffffffffffffffff
18010000050000000000000000000000 ; r1 = 5 ll                                   ; r1 = 0x5                                       ; lddw %r1, 0x5
18010000ffffffff0000000000000000 ; r1 = 4294967295 ll                          ; r1 = 0xffffffff                                ; lddw %r1, 0xffffffff
18010000000000000000000000000080 ; r1 = -9223372036854775808 ll                ; r1 = 0x8000000000000000                        ; lddw %r1, 0x8000000000000000
18110000070000000000000000000000 ; ld_pseudo~r1, 1, 7                          ; r1 = map[fd:7]                                 ; lddw %r1, map[fd:7]
18210000070000000000000010000000 ; ld_pseudo~r1, 2, 7, 16                      ; r1 = map[fd:7][0]+16                           ; lddw %r1, map[fd:7][0]+16
18310000070000000000000000000000 ; ld_pseudo~r1, 3, 7                          ; r1 = btf[id:7]                                 ; lddw %r1, btf[id:7]
18310000070000000000000004000000 ; ld_pseudo~r1, 3, 7, 4                       ; r1 = btf[id:7,fd:4]                            ; lddw %r1, btf[id:7,fd:4]
18410000070000000000000000000000 ; ld_pseudo~r1, 4, 7                          ; r1 = subprog[+7]                               ; lddw %r1, subprog[+7]
18410000fdffffff0000000000000000 ; ld_pseudo~r1, 4, 4294967293                 ; r1 = subprog[-3]                               ; lddw %r1, subprog[-3]
18510000070000000000000000000000 ; ld_pseudo~r1, 5, 7                          ; r1 = map[idx:7]                                ; lddw %r1, map[idx:7]
18610000070000000000000010000000 ; ld_pseudo~r1, 6, 7, 16                      ; r1 = map[idx:7][0]+16                          ; lddw %r1, map[idx:7][0]+16
7161080000000000                 ; w1 = *(u8 *)(r6 + 8)                        ; r1 = *(u8 *)(r6 +8)                            ; ldxb %r1, [%r6+8]
7161f8ff00000000                 ; w1 = *(u8 *)(r6 - 8)                        ; r1 = *(u8 *)(r6 -8)                            ; ldxb %r1, [%r6-8]
6961080000000000                 ; w1 = *(u16 *)(r6 + 8)                       ; r1 = *(u16 *)(r6 +8)                           ; ldxh %r1, [%r6+8]
6961f8ff00000000                 ; w1 = *(u16 *)(r6 - 8)                       ; r1 = *(u16 *)(r6 -8)                           ; ldxh %r1, [%r6-8]
6161080000000000                 ; w1 = *(u32 *)(r6 + 8)                       ; r1 = *(u32 *)(r6 +8)                           ; ldxw %r1, [%r6+8]
6161f8ff00000000                 ; w1 = *(u32 *)(r6 - 8)                       ; r1 = *(u32 *)(r6 -8)                           ; ldxw %r1, [%r6-8]
7961080000000000                 ; r1 = *(u64 *)(r6 + 8)                       ; r1 = *(u64 *)(r6 +8)                           ; ldxdw %r1, [%r6+8]
7961f8ff00000000                 ; r1 = *(u64 *)(r6 - 8)                       ; r1 = *(u64 *)(r6 -8)                           ; ldxdw %r1, [%r6-8]
7961000000000000                 ; r1 = *(u64 *)(r6 + 0)                       ; r1 = *(u64 *)(r6 +0)                           ; ldxdw %r1, [%r6+0]
7961008000000000                 ; r1 = *(u64 *)(r6 - 32768)                   ; r1 = *(u64 *)(r6 -32768)                       ; ldxdw %r1, [%r6-32768]
9161010000000000                 ; r1 = *(s8 *)(r6 + 1)                        ; r1 = *(s8 *)(r6 +1)                            ; ldxsb %r1, [%r6+1]
8961010000000000                 ; r1 = *(s16 *)(r6 + 1)                       ; r1 = *(s16 *)(r6 +1)                           ; ldxsh %r1, [%r6+1]
8161010000000000                 ; r1 = *(s32 *)(r6 + 1)                       ; r1 = *(s32 *)(r6 +1)                           ; ldxsw %r1, [%r6+1]
720af8fffbffffff                 ; *(u8 *)(r10 - 8) = -5                       ; *(u8 *)(r10 -8) = -5                           ; stb [%r10-8], -5
731af8ff00000000                 ; *(u8 *)(r10 - 8) = w1                       ; *(u8 *)(r10 -8) = r1                           ; stxb [%r10-8], %r1
6a0af8fffbffffff                 ; *(u16 *)(r10 - 8) = -5                      ; *(u16 *)(r10 -8) = -5                          ; sth [%r10-8], -5
6b1af8ff00000000                 ; *(u16 *)(r10 - 8) = w1                      ; *(u16 *)(r10 -8) = r1                          ; stxh [%r10-8], %r1
620af8fffbffffff                 ; *(u32 *)(r10 - 8) = -5                      ; *(u32 *)(r10 -8) = -5                          ; stw [%r10-8], -5
631af8ff00000000                 ; *(u32 *)(r10 - 8) = w1                      ; *(u32 *)(r10 -8) = r1                          ; stxw [%r10-8], %r1
7a0af8fffbffffff                 ; *(u64 *)(r10 - 8) = -5                      ; *(u64 *)(r10 -8) = -5                          ; stdw [%r10-8], -5
7b1af8ff00000000                 ; *(u64 *)(r10 - 8) = r1                      ; *(u64 *)(r10 -8) = r1                          ; stxdw [%r10-8], %r1
c31af8ff00000000                 ; lock *(u32 *)(r10 - 8) += w1                ; lock *(u32 *)(r10 -8) += r1                    ; lock add32 [%r10-8], %r1
c31af8ff01000000                 ; w1 = atomic_fetch_add((u32 *)(r10 - 8), w1) ; r1 = atomic_fetch_add((u32 *)(r10 -8), r1)     ; lock fetch add32 [%r10-8], %r1
c31af8ff40000000                 ; lock *(u32 *)(r10 - 8) |= w1                ; lock *(u32 *)(r10 -8) |= r1                    ; lock or32 [%r10-8], %r1
c31af8ff41000000                 ; w1 = atomic_fetch_or((u32 *)(r10 - 8), w1)  ; r1 = atomic_fetch_or((u32 *)(r10 -8), r1)      ; lock fetch or32 [%r10-8], %r1
c31af8ff50000000                 ; lock *(u32 *)(r10 - 8) &= w1                ; lock *(u32 *)(r10 -8) &= r1                    ; lock and32 [%r10-8], %r1
c31af8ff51000000                 ; w1 = atomic_fetch_and((u32 *)(r10 - 8), w1) ; r1 = atomic_fetch_and((u32 *)(r10 -8), r1)     ; lock fetch and32 [%r10-8], %r1
c31af8ffa0000000                 ; lock *(u32 *)(r10 - 8) ^= w1                ; lock *(u32 *)(r10 -8) ^= r1                    ; lock xor32 [%r10-8], %r1
c31af8ffa1000000                 ; w1 = atomic_fetch_xor((u32 *)(r10 - 8), w1) ; r1 = atomic_fetch_xor((u32 *)(r10 -8), r1)     ; lock fetch xor32 [%r10-8], %r1
c31af8ffe1000000                 ; w1 = xchg32_32(r10 - 8, w1)                 ; r1 = atomic_xchg((u32 *)(r10 -8), r1)          ; lock xchg32 [%r10-8], %r1
c31af8fff1000000                 ; w0 = cmpxchg32_32(r10 - 8, w0, w1)          ; r0 = atomic_cmpxchg((u32 *)(r10 -8), r0, r1)   ; lock cmpxchg32 [%r10-8], %r1
db1af8ff00000000                 ; lock *(u64 *)(r10 - 8) += r1                ; lock *(u64 *)(r10 -8) += r1                    ; lock add [%r10-8], %r1
db1af8ff01000000                 ; r1 = atomic_fetch_add((u64 *)(r10 - 8), r1) ; r1 = atomic64_fetch_add((u64 *)(r10 -8), r1)   ; lock fetch add [%r10-8], %r1
db1af8ff40000000                 ; lock *(u64 *)(r10 - 8) |= r1                ; lock *(u64 *)(r10 -8) |= r1                    ; lock or [%r10-8], %r1
db1af8ff41000000                 ; r1 = atomic_fetch_or((u64 *)(r10 - 8), r1)  ; r1 = atomic64_fetch_or((u64 *)(r10 -8), r1)    ; lock fetch or [%r10-8], %r1
db1af8ff50000000                 ; lock *(u64 *)(r10 - 8) &= r1                ; lock *(u64 *)(r10 -8) &= r1                    ; lock and [%r10-8], %r1
db1af8ff51000000                 ; r1 = atomic_fetch_and((u64 *)(r10 - 8), r1) ; r1 = atomic64_fetch_and((u64 *)(r10 -8), r1)   ; lock fetch and [%r10-8], %r1
db1af8ffa0000000                 ; lock *(u64 *)(r10 - 8) ^= r1                ; lock *(u64 *)(r10 -8) ^= r1                    ; lock xor [%r10-8], %r1
db1af8ffa1000000                 ; r1 = atomic_fetch_xor((u64 *)(r10 - 8), r1) ; r1 = atomic64_fetch_xor((u64 *)(r10 -8), r1)   ; lock fetch xor [%r10-8], %r1
db1af8ffe1000000                 ; r1 = xchg_64(r10 - 8, r1)                   ; r1 = atomic64_xchg((u64 *)(r10 -8), r1)        ; lock xchg [%r10-8], %r1
db1af8fff1000000                 ; r0 = cmpxchg_64(r10 - 8, r0, r1)            ; r0 = atomic64_cmpxchg((u64 *)(r10 -8), r0, r1) ; lock cmpxchg [%r10-8], %r1
d3a1f8ff00010000                 ; w1 = load_acquire((u8 *)(r10 - 8))          ; r1 = load_acquire((u8 *)(r10 -8))              ; ldacqb %r1, [%r10-8]
d31af8ff10010000                 ; store_release((u8 *)(r10 - 8), w1)          ; store_release((u8 *)(r10 -8), r1)              ; strelb [%r10-8], %r1
cba1f8ff00010000                 ; w1 = load_acquire((u16 *)(r10 - 8))         ; r1 = load_acquire((u16 *)(r10 -8))             ; ldacqh %r1, [%r10-8]
cb1af8ff10010000                 ; store_release((u16 *)(r10 - 8), w1)         ; store_release((u16 *)(r10 -8), r1)             ; strelh [%r10-8], %r1
c3a1f8ff00010000                 ; w1 = load_acquire((u32 *)(r10 - 8))         ; r1 = load_acquire((u32 *)(r10 -8))             ; ldacqw %r1, [%r10-8]
c31af8ff10010000                 ; store_release((u32 *)(r10 - 8), w1)         ; store_release((u32 *)(r10 -8), r1)             ; strelw [%r10-8], %r1
dba1f8ff00010000                 ; r1 = load_acquire((u64 *)(r10 - 8))         ; r1 = load_acquire((u64 *)(r10 -8))             ; ldacqdw %r1, [%r10-8]
db1af8ff10010000                 ; store_release((u64 *)(r10 - 8), r1)         ; store_release((u64 *)(r10 -8), r1)             ; streldw [%r10-8], %r1
200000000c000000                 ; r0 = *(u32 *)skb[12]                        ; r0 = *(u32 *)skb[12]                           ; ldabsw 12
402000000c000000                 ; r0 = *(u32 *)skb[r2 + 12]                   ; r0 = *(u32 *)skb[r2 + 12]                      ; ldindw %r2, 12
280000000c000000                 ; r0 = *(u16 *)skb[12]                        ; r0 = *(u16 *)skb[12]                           ; ldabsh 12
482000000c000000                 ; r0 = *(u16 *)skb[r2 + 12]                   ; r0 = *(u16 *)skb[r2 + 12]                      ; ldindh %r2, 12
300000000c000000                 ; r0 = *(u8 *)skb[12]                         ; r0 = *(u8 *)skb[12]                            ; ldabsb 12
502000000c000000                 ; r0 = *(u8 *)skb[r2 + 12]                    ; r0 = *(u8 *)skb[r2 + 12]                       ; ldindb %r2, 12
4020000000000000                 ; r0 = *(u32 *)skb[r2]                        ; r0 = *(u32 *)skb[r2 + 0]                       ; ldindw %r2, 0
20000000f4ffffff                 ; r0 = *(u32 *)skb[-12]                       ; r0 = *(u32 *)skb[-12]                          ; ldabsw -12
1501030005000000                 ; if r1 == 5 goto +3                          ; if r1 == 0x5 goto pc+3                         ; jeq %r1, 5, +3
1d21fdff00000000                 ; if r1 == r2 goto -3                         ; if r1 == r2 goto pc-3                          ; jeq %r1, %r2, -3
1601030005000000                 ; if w1 == 5 goto +3                          ; if w1 == 0x5 goto pc+3                         ; jeq32 %r1, 5, +3
1e21fdff00000000                 ; if w1 == w2 goto -3                         ; if w1 == w2 goto pc-3                          ; jeq32 %r1, %r2, -3
2501030005000000                 ; if r1 > 5 goto +3                           ; if r1 > 0x5 goto pc+3                          ; jgt %r1, 5, +3
2d21fdff00000000                 ; if r1 > r2 goto -3                          ; if r1 > r2 goto pc-3                           ; jgt %r1, %r2, -3
2601030005000000                 ; if w1 > 5 goto +3                           ; if w1 > 0x5 goto pc+3                          ; jgt32 %r1, 5, +3
2e21fdff00000000                 ; if w1 > w2 goto -3                          ; if w1 > w2 goto pc-3                           ; jgt32 %r1, %r2, -3
3501030005000000                 ; if r1 >= 5 goto +3                          ; if r1 >= 0x5 goto pc+3                         ; jge %r1, 5, +3
3d21fdff00000000                 ; if r1 >= r2 goto -3                         ; if r1 >= r2 goto pc-3                          ; jge %r1, %r2, -3
3601030005000000                 ; if w1 >= 5 goto +3                          ; if w1 >= 0x5 goto pc+3                         ; jge32 %r1, 5, +3
3e21fdff00000000                 ; if w1 >= w2 goto -3                         ; if w1 >= w2 goto pc-3                          ; jge32 %r1, %r2, -3
4501030005000000                 ; if r1 & 5 goto +3                           ; if r1 & 0x5 goto pc+3                          ; jset %r1, 5, +3
4d21fdff00000000                 ; if r1 & r2 goto -3                          ; if r1 & r2 goto pc-3                           ; jset %r1, %r2, -3
4601030005000000                 ; if w1 & 5 goto +3                           ; if w1 & 0x5 goto pc+3                          ; jset32 %r1, 5, +3
4e21fdff00000000                 ; if w1 & w2 goto -3                          ; if w1 & w2 goto pc-3                           ; jset32 %r1, %r2, -3
5501030005000000                 ; if r1 != 5 goto +3                          ; if r1 != 0x5 goto pc+3                         ; jne %r1, 5, +3
5d21fdff00000000                 ; if r1 != r2 goto -3                         ; if r1 != r2 goto pc-3                          ; jne %r1, %r2, -3
5601030005000000                 ; if w1 != 5 goto +3                          ; if w1 != 0x5 goto pc+3                         ; jne32 %r1, 5, +3
5e21fdff00000000                 ; if w1 != w2 goto -3                         ; if w1 != w2 goto pc-3                          ; jne32 %r1, %r2, -3
6501030005000000                 ; if r1 s> 5 goto +3                          ; if r1 s> 0x5 goto pc+3                         ; jsgt %r1, 5, +3
6d21fdff00000000                 ; if r1 s> r2 goto -3                         ; if r1 s> r2 goto pc-3                          ; jsgt %r1, %r2, -3
6601030005000000                 ; if w1 s> 5 goto +3                          ; if w1 s> 0x5 goto pc+3                         ; jsgt32 %r1, 5, +3
6e21fdff00000000                 ; if w1 s> w2 goto -3                         ; if w1 s> w2 goto pc-3                          ; jsgt32 %r1, %r2, -3
7501030005000000                 ; if r1 s>= 5 goto +3                         ; if r1 s>= 0x5 goto pc+3                        ; jsge %r1, 5, +3
7d21fdff00000000                 ; if r1 s>= r2 goto -3                        ; if r1 s>= r2 goto pc-3                         ; jsge %r1, %r2, -3
7601030005000000                 ; if w1 s>= 5 goto +3                         ; if w1 s>= 0x5 goto pc+3                        ; jsge32 %r1, 5, +3
7e21fdff00000000                 ; if w1 s>= w2 goto -3                        ; if w1 s>= w2 goto pc-3                         ; jsge32 %r1, %r2, -3
a501030005000000                 ; if r1 < 5 goto +3                           ; if r1 < 0x5 goto pc+3                          ; jlt %r1, 5, +3
ad21fdff00000000                 ; if r1 < r2 goto -3                          ; if r1 < r2 goto pc-3                           ; jlt %r1, %r2, -3
a601030005000000                 ; if w1 < 5 goto +3                           ; if w1 < 0x5 goto pc+3                          ; jlt32 %r1, 5, +3
ae21fdff00000000                 ; if w1 < w2 goto -3                          ; if w1 < w2 goto pc-3                           ; jlt32 %r1, %r2, -3
b501030005000000                 ; if r1 <= 5 goto +3                          ; if r1 <= 0x5 goto pc+3                         ; jle %r1, 5, +3
bd21fdff00000000                 ; if r1 <= r2 goto -3                         ; if r1 <= r2 goto pc-3                          ; jle %r1, %r2, -3
b601030005000000                 ; if w1 <= 5 goto +3                          ; if w1 <= 0x5 goto pc+3                         ; jle32 %r1, 5, +3
be21fdff00000000                 ; if w1 <= w2 goto -3                         ; if w1 <= w2 goto pc-3                          ; jle32 %r1, %r2, -3
c501030005000000                 ; if r1 s< 5 goto +3                          ; if r1 s< 0x5 goto pc+3                         ; jslt %r1, 5, +3
cd21fdff00000000                 ; if r1 s< r2 goto -3                         ; if r1 s< r2 goto pc-3                          ; jslt %r1, %r2, -3
c601030005000000                 ; if w1 s< 5 goto +3                          ; if w1 s< 0x5 goto pc+3                         ; jslt32 %r1, 5, +3
ce21fdff00000000                 ; if w1 s< w2 goto -3                         ; if w1 s< w2 goto pc-3                          ; jslt32 %r1, %r2, -3
d501030005000000                 ; if r1 s<= 5 goto +3                         ; if r1 s<= 0x5 goto pc+3                        ; jsle %r1, 5, +3
dd21fdff00000000                 ; if r1 s<= r2 goto -3                        ; if r1 s<= r2 goto pc-3                         ; jsle %r1, %r2, -3
d601030005000000                 ; if w1 s<= 5 goto +3                         ; if w1 s<= 0x5 goto pc+3                        ; jsle32 %r1, 5, +3
de21fdff00000000                 ; if w1 s<= w2 goto -3                        ; if w1 s<= w2 goto pc-3                         ; jsle32 %r1, %r2, -3
15010000ffffffff                 ; if r1 == -1 goto +0                         ; if r1 == 0xffffffff goto pc+0                  ; jeq %r1, -1, +0
0500030000000000                 ; goto +3                                     ; goto pc+3                                      ; ja +3
0500008000000000                 ; goto -32768                                 ; goto pc-32768                                  ; ja -32768
06000000a0860100                 ; gotol +100000                               ; gotol pc+100000                                ; ja32 +100000
e500fdff00000000                 ; may_goto -3                                 ; may_goto pc-3                                  ; jcond -3
0d01000000000000                 ; gotox r1                                    ; gotox r1                                       ; gotox %r1
8500000001000000                 ; call 1                                      ; call bpf_map_lookup_elem#1                     ; call 1
850000000f270000                 ; call 9999                                   ; call unknown#9999                              ; call 9999
85000000ffffffff                 ; call -1                                     ; call unknown#-1                                ; call -1
851000000f000000                 ; call pc+15                                  ; call pc+15                                     ; call local +15
85100000f1ffffff                 ; call pc-15                                  ; call pc-15                                     ; call local -15
85200000d2040000                 ; call kfunc#1234                             ; call kfunc#1234                                ; call kfunc#1234
85200300d2040000                 ; call kfunc#1234@3                           ; call kfunc#1234@3                              ; call kfunc#1234@3
8d01000000000000                 ; callx r1                                    ; callx r1                                       ; callx %r1
8d00000003000000                 ; callx 3                                     ; callx 3                                        ; callx 3
9500000000000000                 ; exit                                        ; exit                                           ; exit
`;

/** One encoding in three styles. */
export interface Spelling {
  /** Bytes in little-endian order, as hex digits. */
  readonly hex: string;
  readonly llvm: string;
  readonly kernel: string;
  readonly mnemonic: string;
}

/** The table. */
export const SPELLINGS: readonly Spelling[] = ROWS.trim()
  .split("\n")
  .map((row) => {
    const [hex, llvm, kernel, mnemonic] = row.split(";").map((cell) => cell.trim().replace("~", "\t"));
    return { hex: hex!, llvm: llvm!, kernel: kernel!, mnemonic: mnemonic! };
  });
