import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;
type Network = [Address, number];

/**
 * Which addresses this service may connect to on behalf of a caller. Only global unicast is open: everything of
 * another kind (IANA special-purpose registries, RFC 6890) is refused unless the operator's networks hold it.
 */
export interface EgressGuard {
  /** Null when the address may be connected to; otherwise what it is, in words (`a loopback address`). */
  refusal(address: string): string | null;
  /**
   * For the API's door, without DNS: false for an IP literal in any spelling that URL or inet_aton take, or a
   * localhost name, that would be refused. True for every other name: those are judged when they are resolved.
   */
  isAddressAllowed(host: string): boolean;
}

/**
 * @param allowNetworks CIDRs; an IPv4 one also covers the v4-mapped IPv6 form of its addresses
 * @throws RangeError for what is no CIDR
 */
export function createEgressGuard(allowNetworks: readonly string[]): EgressGuard {
  const networks = allowNetworks.map(parseNetwork);
  const refusal = (text: string): string | null => {
    const address = parseAddress(text);
    if (address === null) return 'no IP address';
    if (networks.some((network) => contains(network, address))) return null;
    return describe(address);
  };
  return {
    refusal,
    isAddressAllowed(host) {
      if (isLocalName(host)) return refusal('127.0.0.1') === null || refusal('::1') === null;
      const literal = literalOf(host);
      return literal === null || refusal(literal) === null;
    },
  };
}

/** @throws RangeError */
export function parseNetwork(cidr: string): Network {
  if (!ipaddr.isValidCIDR(cidr)) throw new RangeError(`no network in CIDR notation: ${cidr}`);
  const [address, bits] = ipaddr.parseCIDR(cidr);
  if (address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress())
    throw new RangeError(`write a v4-mapped network as an IPv4 one: ${cidr}`);
  return [address, bits];
}

/** The address to connect to: v4-mapped IPv6 as the IPv4 that the kernel would take it for. */
export function canonical(address: string): string {
  const parsed = parseAddress(address);
  return parsed instanceof ipaddr.IPv4 ? parsed.toString() : address;
}

function parseAddress(text: string): Address | null {
  if (isIP(text) === 0) return null;
  const address = ipaddr.parse(text.replace(/%.*$/, ''));
  if (address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress()) return address.toIPv4Address();
  return address;
}

function contains([network, bits]: Network, address: Address): boolean {
  return network.kind() === address.kind() && address.match(network, bits);
}

const WORDS: Readonly<Record<string, string>> = {
  loopback: 'a loopback address',
  private: 'a private address',
  uniqueLocal: 'a private address',
  linkLocal: 'a link-local address',
  carrierGradeNat: 'an address of carrier-grade NAT',
  multicast: 'a multicast address',
  broadcast: 'the broadcast address',
  unspecified: 'the unspecified address',
  '6to4': 'a 6to4 tunnel address',
  teredo: 'a Teredo tunnel address',
};

// Azure's wire server: a metadata service on an address that looks public. Those of other clouds lie in
// 169.254.0.0/16, 100.64.0.0/10, 192.0.0.0/24 and fd00::/8, refused anyway.
const METADATA = new Set(['168.63.129.16']);
const GLOBAL_UNICAST_V6 = ipaddr.IPv6.parseCIDR('2000::/3');
// RFC 6052 section 2.1: the well-known prefix of NAT64. Networks without IPv4 reach every IPv4 host by it.
const NAT64 = ipaddr.IPv6.parseCIDR('64:ff9b::/96');

function describe(address: Address): string | null {
  if (address instanceof ipaddr.IPv4) return describeV4(address);
  if (address.match(NAT64)) {
    const inner = describeV4(new ipaddr.IPv4(address.toByteArray().slice(12)));
    return inner === null ? null : `a NAT64 address of ${inner}`;
  }
  const range = address.range();
  if (range === 'unicast' && address.match(GLOBAL_UNICAST_V6)) return null;
  return WORDS[range] ?? 'a reserved address';
}

function describeV4(address: ipaddr.IPv4): string | null {
  if (METADATA.has(address.toString())) return 'a metadata service';
  const range = address.range();
  return range === 'unicast' ? null : (WORDS[range] ?? 'a reserved address');
}

const LOCAL_NAMES = new Set(['localhost', 'localhost.localdomain', 'ip6-localhost', 'ip6-loopback']);

// RFC 6761 section 6.3: all of `localhost.` is loopback.
function isLocalName(host: string): boolean {
  const name = urlHost(host) ?? host.toLowerCase();
  const bare = name.replace(/\.+$/, '');
  return LOCAL_NAMES.has(bare) || bare.endsWith('.localhost');
}

/** The IP address that a host text means by itself, in plain notation; null for a name. */
function literalOf(host: string): string | null {
  const bare = host.replace(/^\[(.*)\]$/, '$1').replace(/(?<=:.*)%.*$/, '');
  if (isIP(bare) !== 0) return bare;
  const parsed = urlHost(host)?.replace(/^\[(.*)\]$/, '$1') ?? '';
  return isIP(parsed) !== 0 ? parsed : null;
}

// WHATWG's host parser folds decimal, octal, hexadecimal, short, percent-encoded and full-width spellings.
function urlHost(host: string): string | null {
  return URL.parse(`http://${host.trim()}/`)?.hostname ?? null;
}
