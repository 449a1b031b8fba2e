# Three VPCs at a transit gateway. Production and development reach the shared one and not each other; a peering joins
# production with an archive beside the gateway. Interface and gateway endpoints keep AWS's own services off the internet.

terraform {
  required_providers { aws = { source = "hashicorp/aws" } }
}

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "plan-only"
  secret_key                  = "plan-only"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

variable "spokes" {
  default = {
    shared = { cidr = "10.40.0.0/16", table = "shared" }
    prod   = { cidr = "10.41.0.0/16", table = "spokes" }
    dev    = { cidr = "10.42.0.0/16", table = "spokes" }
  }
}

module "spoke" {
  source   = "./modules/spoke"
  for_each = var.spokes
  name     = each.key
  cidr     = each.value.cidr
  hub      = aws_ec2_transit_gateway.hub.id
}

resource "aws_ec2_transit_gateway" "hub" {
  description                     = "hub"
  default_route_table_association = "disable"
  default_route_table_propagation = "disable"
}

resource "aws_ec2_transit_gateway_route_table" "by_name" {
  for_each           = toset(["shared", "spokes"])
  transit_gateway_id = aws_ec2_transit_gateway.hub.id
}

resource "aws_ec2_transit_gateway_route_table_association" "each" {
  for_each                       = var.spokes
  transit_gateway_attachment_id  = module.spoke[each.key].attachment_id
  transit_gateway_route_table_id = aws_ec2_transit_gateway_route_table.by_name[each.value.table].id
}

# The shared VPC learns everybody; the others learn the shared one only.
resource "aws_ec2_transit_gateway_route_table_propagation" "to_shared" {
  for_each                       = toset(["prod", "dev"])
  transit_gateway_attachment_id  = module.spoke[each.key].attachment_id
  transit_gateway_route_table_id = aws_ec2_transit_gateway_route_table.by_name["shared"].id
}

resource "aws_ec2_transit_gateway_route_table_propagation" "to_spokes" {
  transit_gateway_attachment_id  = module.spoke["shared"].attachment_id
  transit_gateway_route_table_id = aws_ec2_transit_gateway_route_table.by_name["spokes"].id
}

resource "aws_ec2_transit_gateway_route" "nowhere" {
  destination_cidr_block         = "10.0.0.0/8"
  blackhole                      = true
  transit_gateway_route_table_id = aws_ec2_transit_gateway_route_table.by_name["spokes"].id
}

# The archive is not at the hub.
resource "aws_vpc" "archive" {
  cidr_block = "10.50.0.0/16"
}

resource "aws_subnet" "archive" {
  vpc_id     = aws_vpc.archive.id
  cidr_block = "10.50.1.0/24"
}

resource "aws_vpc_peering_connection" "prod_archive" {
  vpc_id      = module.spoke["prod"].vpc_id
  peer_vpc_id = aws_vpc.archive.id
  auto_accept = true
}

resource "aws_route" "to_archive" {
  route_table_id            = module.spoke["prod"].route_table_id
  destination_cidr_block    = aws_vpc.archive.cidr_block
  vpc_peering_connection_id = aws_vpc_peering_connection.prod_archive.id
}

resource "aws_default_route_table" "archive" {
  default_route_table_id = aws_vpc.archive.default_route_table_id
  route {
    cidr_block                = "10.41.0.0/16"
    vpc_peering_connection_id = aws_vpc_peering_connection.prod_archive.id
  }
}

resource "aws_security_group" "archive" {
  name   = "archive"
  vpc_id = aws_vpc.archive.id
}

resource "aws_security_group_rule" "archive_in" {
  type              = "ingress"
  security_group_id = aws_security_group.archive.id
  protocol          = "tcp"
  from_port         = 2049
  to_port           = 2049
  cidr_blocks       = ["10.0.0.0/8"]
}

resource "aws_instance" "archive" {
  ami                    = "ami-0123456789abcdef0"
  instance_type          = "t3.small"
  subnet_id              = aws_subnet.archive.id
  private_ip             = "10.50.1.49"
  vpc_security_group_ids = [aws_security_group.archive.id]
}
